// Owns the tests of when trainings rest.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Hold } from "../../../services/device/hold.ts";

function training() {
  const calls: string[] = [];
  return { calls, pause: () => void calls.push("pause"), resume: () => void calls.push("resume") };
}

test("trainings that run rest, and one that begins meanwhile does too; told again they go on resting", () => {
  const hold = new Hold();
  const [early, late] = [training(), training()];
  hold.add(early);
  hold.set(60_000);
  hold.set(60_000);
  hold.add(late);
  hold.set(0);
  assert.equal(
    [early.calls, late.calls],
    [
      ["pause", "resume"],
      ["pause", "resume"],
    ],
  );
});

test("a hold that is not renewed ends by itself", async () => {
  const hold = new Hold();
  const one = training();
  hold.add(one);
  hold.set(5);
  while (one.calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(one.calls, ["pause", "resume"]);
});

test("one that shall end rests no more, however often others are held", () => {
  const hold = new Hold();
  const one = training();
  const free = hold.add(one);
  hold.set(60_000);
  free();
  hold.set(0);
  hold.set(60_000);
  hold.set(0);
  free();
  assert.equal(one.calls, ["pause", "resume"]);
});

test.run();
