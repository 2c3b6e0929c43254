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

test("who gives up is told when such a model was back so far, or else to wait as long again", () => {
  const absence = new Absence();
  absence.hopeless("m", false, 0);
  assert.ok(absence.hopeless("m", false, 31_000));
  assert.is(absence.expected("m", 31_000), 31_000);
  absence.hopeless("n", false, 40_000);
  absence.hopeless("n", true, 44_000);
  assert.is(absence.expected("m", 44_000), 4_000);
  absence.hopeless("n", true, 50_000);
  assert.is(absence.expected("m", 50_000), 4_000, "what is there all the time was not away");
  absence.hopeless("n", false, 60_000);
  absence.hopeless("n", true, 62_000);
  assert.is(absence.expected("m", 62_000), 3_000);
});

test.run();
