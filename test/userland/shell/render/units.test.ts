import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytes, clock, duration } from "../../../../userland/shell/render/units.ts";

test("bytes read in powers of 1024", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KB"],
    [1536, "1.5 KB"],
    [150 * 1024, "150 KB"],
    [1024 ** 2 - 1, "1.0 MB"],
    [1.5 * 1024 ** 3, "1.5 GB"],
    [5000 * 1024 ** 4, "5000 TB"],
  ];
  for (const [n, text] of cases) assert.is(bytes(n), text);
});

test("durations read in the two units that matter", () => {
  const cases: [number, string][] = [
    [0, "0ms"],
    [120.4, "120ms"],
    [999.7, "1.0s"],
    [8_349, "8.3s"],
    [59_970, "1m00s"],
    [252_000, "4m12s"],
    [3_599_700, "1h00m"],
    [2 * 3_600_000 + 5 * 60_000, "2h05m"],
    [86_399_900, "1d0h"],
    [3 * 86_400_000 + 4 * 3_600_000 + 59 * 60_000, "3d4h"],
    [Number.POSITIVE_INFINITY, "?"],
    [Number.NaN, "?"],
  ];
  for (const [ms, text] of cases) assert.is(duration(ms), text, String(ms));
});

test("no quantity shows a part as large as the next unit", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1024 ** 5, noNaN: true }), (n) => {
      const [, count, unit] = /^([\d.]+) (B|KB|MB|GB|TB)$/.exec(bytes(Math.floor(n)))!;
      assert.ok(unit === "TB" || Number(count) < 1024, bytes(n));
      const text = duration(n);
      assert.not.match(text, /\b(1000ms|60\.0s|60m\d\ds|24h\d\dm)|m60s|h60m|d24h/);
    }),
  );
});

test("the time of day is local, with seconds", () => {
  assert.is(clock(new Date(2026, 0, 2, 3, 4, 5).getTime()), "03:04:05");
});

test.run();
