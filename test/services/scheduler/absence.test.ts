// Owns the tests of how long a model may be away before those who wait for it are told.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Absence } from "../../../services/scheduler/absence.ts";

test("what runs for long is not given up the moment its device dies", () => {
  const absence = new Absence();
  assert.not(absence.hopeless("m", true, 0));
  assert.not(absence.hopeless("m", false, 100_000));
  assert.not(absence.hopeless("m", false, 129_000));
  assert.ok(absence.hopeless("m", false, 130_000));
});

test("a model that came back begins anew, and so does one that nobody waited for meanwhile", () => {
  const absence = new Absence();
  absence.hopeless("m", false, 0);
  absence.hopeless("m", true, 20_000);
  assert.not(absence.hopeless("m", false, 40_000));
  absence.keep(new Set());
  assert.not(absence.hopeless("m", false, 80_000));
});

test.run();
