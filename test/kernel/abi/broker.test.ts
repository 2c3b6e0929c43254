import { test } from "uvu";
import * as assert from "uvu/assert";
import { compareVersions, isGoodEnough } from "../../../kernel/abi/broker.ts";

test("versions are ordered by number, a pre-release before its release", () => {
  const shuffled = ["2.11.1", "2.9.10", "2.10.27", "2.10.3", "2.10.27-RC.1", "3.0.0"];
  const sorted = ["2.9.10", "2.10.3", "2.10.27-RC.1", "2.10.27", "2.11.1", "3.0.0"];
  assert.equal(shuffled.sort(compareVersions), sorted);
});

test("2.10.27 and later are good enough, except the one with the same hole", () => {
  const good = ["2.10.27", "2.10.28", "2.11.1", "2.12.0"];
  const bad = ["2.9.22", "2.10.26", "2.10.27-RC.1", "2.11.0"];
  assert.equal([...good, ...bad].filter(isGoodEnough), good);
});

test.run();
