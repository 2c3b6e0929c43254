// Owns the tests of the estimate of when the first of some running calls is over.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Lengths } from "../../../kernel/ipc/lengths.ts";

test("a call that runs is over when such calls usually are, and the first of several counts", () => {
  const lengths = new Lengths(() => 1_000);
  lengths.ended("slow", 5_000);
  lengths.ended("quick", 300);
  assert.is(lengths.first([{ call: "slow", startedAt: 200 }]), 4_200);
  const both = [
    { call: "slow", startedAt: 200 },
    { call: "quick", startedAt: 900 },
  ];
  assert.is(lengths.first(both), 200);
  assert.is(lengths.first([]), undefined);
});

test("one that has outlived that, or of whose kind none has ended, is given as long again", () => {
  const lengths = new Lengths(() => 1_000);
  lengths.ended("quick", 300);
  assert.is(lengths.first([{ call: "quick", startedAt: 400 }]), 600);
  assert.is(lengths.first([{ call: "new", startedAt: 250 }]), 750);
  assert.is(lengths.first([{ call: "new", startedAt: 1_000 }]), 1, "never at once");
});

test("what calls take follows how it changes", () => {
  const lengths = new Lengths(() => 0);
  lengths.ended("a", 100);
  for (let i = 0; i < 40; i++) lengths.ended("a", 1_000);
  const ms = lengths.first([{ call: "a", startedAt: 0 }])!;
  assert.ok(ms > 990 && ms <= 1_000, `${ms}`);
});

test.run();
