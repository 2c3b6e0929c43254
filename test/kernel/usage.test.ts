import { test } from "uvu";
import * as assert from "uvu/assert";
import { parsePs, usageOf } from "../../kernel/usage.ts";

test("a process of this machine is told with its memory and CPU time, others are left out", () => {
  const usage = usageOf([process.pid, 2 ** 22 + 1]);
  assert.equal([...usage.keys()], [process.pid]);
  const { rssBytes, cpuMs } = usage.get(process.pid)!;
  const { user, system } = process.cpuUsage();
  assert.ok(Math.abs(rssBytes - process.memoryUsage.rss()) < 64e6, `${rssBytes} bytes`);
  assert.ok(cpuMs > 0 && cpuMs <= (user + system) / 1000 + 50, `${cpuMs} ms`);
});

test("what ps prints elsewhere is read: kilobytes, and days, hours, minutes, seconds", () => {
  const text = "  7  1024   0:01.50\n 42 20 01:02:03\n 99 1 2-00:00:01\n";
  assert.equal(parsePs(text), [
    [7, { rssBytes: 1024 * 1024, cpuMs: 1_500 }],
    [42, { rssBytes: 20 * 1024, cpuMs: 3_723_000 }],
    [99, { rssBytes: 1024, cpuMs: 172_801_000 }],
  ]);
  assert.equal(parsePs(""), []);
});

test.run();
