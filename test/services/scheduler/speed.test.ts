// Owns the tests of measured speeds and of the estimates made from them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { estimate } from "../../../services/scheduler/estimate.ts";
import { Speed } from "../../../services/scheduler/speed.ts";
import { input } from "./simulation.ts";

const near = (a: number | undefined, b: number, what: string) =>
  assert.ok(Math.abs(a! / b - 1) < 0.02, `${what}: ${a}`);

test("steps and rows are told apart once quanta differ", () => {
  const speed = new Speed();
  assert.is(speed.ms(1, 1), undefined);
  for (const [steps, rows] of [
    [8, 8],
    [8, 200],
    [32, 32],
    [1, 128],
  ])
    speed.add(steps!, rows!, 5 * steps! + 0.1 * rows!);
  near(speed.ms(10, 1000), 150, "ten steps of a hundred rows");
  near(speed.ms(1000, 1000), 5100, "decoding alone");
});

test("whoever has only seen decoding does not refuse a long prompt for it", () => {
  const speed = new Speed();
  for (let i = 0; i < 20; i++) speed.add(32, 32, 320);
  const ms = estimate(input(1_000, 10), [], 1, speed)!;
  assert.ok(ms < 300, `${ms} ms for 8 steps of prefill and 10 of decoding`);
});

test("others on the same device make it longer, another device shorter", () => {
  const speed = new Speed();
  for (const [steps, rows] of [
    [8, 8],
    [8, 512],
    [32, 32],
  ])
    speed.add(steps!, rows!, 5 * steps! + 0.5 * rows!);
  const others = Array.from({ length: 100 }, () => ({ input: input(100, 100), newIds: [], computed: 0 })) as never[];
  const alone = estimate(input(100, 100), [], 1, speed)!;
  const one = estimate(input(100, 100), others, 1, speed)!;
  const two = estimate(input(100, 100), others, 2, speed)!;
  assert.ok(alone < two && two < one, `${alone} < ${two} < ${one}`);
});

test.run();
