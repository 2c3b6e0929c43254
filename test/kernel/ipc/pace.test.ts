import { test } from "uvu";
import * as assert from "uvu/assert";
import { Pace } from "../../../kernel/ipc/pace.ts";

let now = 0;
/** `running` of a kind after twenty have ended, one each `every` ms. */
function paced(running: number, every: number, ttl = 1_000, ok = true): Pace {
  const pace = new Pace(() => now);
  for (let i = 0; i < running + 20; i++) pace.began("generate", ttl);
  for (let i = 0; i < 20; i++, now += every) pace.ended("generate", ttl, ok);
  return pace;
}

test("one more is too late when those that run take longer than a quarter of what it has", () => {
  // 20 in 400 ms: 50 in a quarter of 4 s.
  assert.not(paced(49, 20, 4_000).late("generate", 4_000, 9, 10));
  assert.ok(paced(50, 20, 4_000).late("generate", 4_000, 9, 10));
});

test("who has less than a caller's share comes in nevertheless", () => {
  const pace = paced(60, 20, 4_000);
  assert.not(pace.late("generate", 4_000, 4, 10), "the fifth of five");
  assert.ok(pace.late("generate", 4_000, 5, 10));
  assert.ok(pace.late("generate", 4_000, 0, 1_000), "of a thousand callers not each can have one");
});

test("nobody is too late where few run, where the pace is unknown, or without a deadline", () => {
  assert.not(paced(31, 1_000).late("generate", 1_000, 31, 1));
  assert.not(paced(500, 20, 1_000, false).late("generate", 1_000, 500, 1), "what failed says nothing of pace");
  assert.not(paced(500, 20, Number.POSITIVE_INFINITY).late("generate", Number.POSITIVE_INFINITY, 500, 1));
});

test("another call, or one with far more time, is not counted with them", () => {
  const pace = paced(500, 20);
  assert.ok(pace.late("generate", 1_000, 500, 1));
  assert.not(pace.late("generate", 60_000, 500, 1));
  assert.not(pace.late("tokenize", 1_000, 500, 1));
});

test("when nothing ends any more the pace falls", () => {
  const pace = paced(40, 10, 4_000);
  assert.not(pace.late("generate", 4_000, 40, 1));
  now += 1_000;
  assert.ok(pace.late("generate", 4_000, 40, 1));
});

test("a pause between two crowds is not taken for slowness", () => {
  const pace = paced(0, 10);
  now += 60_000;
  for (let i = 0; i < 40; i++) pace.began("generate", 1_000);
  assert.not(pace.late("generate", 1_000, 40, 1));
});

test.run();
