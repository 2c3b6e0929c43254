import { test } from "uvu";
import * as assert from "uvu/assert";
import { BEAT_MS, HangWatch } from "../../../kernel/launcher/hang.ts";

/** When it is found to hang, looked at each BEAT_MS from `from` to `to`; undefined if never. */
function foundAt(watch: HangWatch, from: number, to: number): number | undefined {
  for (let now = from; now <= to; now += BEAT_MS) if (watch.hangs(now)) return now;
  return undefined;
}

test("a kernel that stops to beat hangs after five seconds", () => {
  const watch = new HangWatch();
  assert.is(foundAt(watch, 0, 10_000), undefined, "it has not begun to");
  watch.beat(10_500);
  assert.is(foundAt(watch, 11_000, 30_000), 16_000);
});

test("our own lag does not count, nor does another kernel's silence", () => {
  const watch = new HangWatch();
  watch.hangs(0);
  watch.beat(500);
  assert.not(watch.hangs(20_000));
  assert.is(foundAt(watch, 21_000, 40_000), 25_000);
  watch.reset();
  assert.is(foundAt(watch, 26_000, 40_000), undefined);
});

test.run();
