// Owns the tests of training in the background: held while somebody has work, but never starved.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Background } from "../../../services/scheduler/background.ts";
import { Holds } from "../../../services/scheduler/holds.ts";

test("training is held while somebody has work and a moment longer, then goes on", () => {
  const background = new Background();
  assert.not(background.hold(false, 0));
  assert.ok(background.hold(true, 100));
  assert.ok(background.hold(false, 200));
  assert.not(background.hold(false, 400));
});

test("where others have work all the time it gets a twentieth", () => {
  const background = new Background();
  let got = 0;
  for (let now = 0; now < 100_000; now += 10) if (!background.hold(true, now)) got += 10;
  assert.is(got, 5_000);
});

test("only devices that train are told, once and then before each lease ends", () => {
  const told: [string, number][] = [];
  const holds = new Holds((device, ms) => told.push([device, ms]));
  holds.heard("device-1", false);
  holds.heard("device-2", true);
  holds.update(true, 0);
  for (let now = 0; now <= 3_000; now += 250) holds.update(true, now);
  assert.equal(told, new Array(4).fill(["device-2", 2_000]));
  told.length = 0;
  for (let now = 3_250; now <= 4_000; now += 250) holds.update(false, now);
  assert.equal(told, [["device-2", 0]]);
});

test("one that began to train while others had work is told at once, and one that ended is told no more", () => {
  const told: string[] = [];
  const holds = new Holds((device) => told.push(device));
  holds.update(true, 0);
  holds.heard("device-1", true);
  holds.update(true, 1);
  assert.equal(told, ["device-1"]);
  holds.heard("device-1", false);
  holds.update(true, 2_000);
  holds.heard("device-1", true);
  holds.down("device-1");
  holds.update(true, 2_001);
  assert.equal(told, ["device-1"]);
});

test.run();
