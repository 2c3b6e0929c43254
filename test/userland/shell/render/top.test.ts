import { test } from "uvu";
import * as assert from "uvu/assert";
import { columns } from "../../../../userland/shell/render/table.ts";
import { frame, frameText, type Look } from "../../../../userland/shell/render/top.ts";

type Shares = Look["policy"]["shares"];
type Sequence = Look["queue"]["sequences"][number];

const share = (principal: string, tokens: number, preempted = 0): Shares[number] => ({
  ...{ principal, tokens, preempted, weight: 1, virtualTime: tokens },
});
const sequence = (principal: string, state: string, more: Partial<Sequence> = {}): Sequence => ({
  ...{ id: `${principal}/${state}`, principal, model: "tiny@1", state, ids: 10, newTokens: 0, maxNew: 30 },
  ...{ blocks: 0, waitedMs: 0, why: "" },
  ...more,
});
const GB = 2 ** 30;

function look(at: number, shares: Shares, sequences: Sequence[] = [], usedMs = 0): Look {
  const part = { part: "", share: 1, memory: 1, blocks: 100, leased: 3, sequences: 1, cpuMs: 0 };
  const model = { model: "tiny@1", driver: "wasm", numerics: "", weightBytes: GB, kvBytes: GB };
  return {
    at,
    policy: { policy: "fair", shares },
    queue: { policy: "fair", sequences },
    parts: [{ device: "device-1", usedMs, ...part }],
    memory: [{ device: "device-1", totalBytes: 8 * GB, weightBytes: GB, kvBytes: GB, freeBytes: 6 * GB, holders: [] }],
    devices: [
      {
        ...{ device: "device-1", memoryBytes: 16 * GB, budgetBytes: 8 * GB, trainings: 0 },
        drivers: [{ driver: "wasm", chosen: true, ok: true, why: "" }],
        models: [model],
      } as unknown as Look["devices"][number],
    ],
  };
}

test("who computed most between the looks comes first, whatever was before", () => {
  const before = look(1_000, [share("old", 9_000), share("chat", 100), share("batch", 50, 1)]);
  const now = look(3_000, [share("old", 9_000), share("chat", 150), share("batch", 200, 3)]);
  const { apps } = frame(before, now);
  assert.equal(
    apps.map(({ app, tokensPerSecond, share, preemptions }) => [app, tokensPerSecond, share, preemptions]),
    [
      ["batch", 75, 0.75, 3],
      ["chat", 25, 0.25, 0],
    ],
  );
});

test("who waits is shown though nothing was computed for it, with the blocks that its sequences hold", () => {
  const sequences = [
    sequence("chat", "running", { device: "device-1", blocks: 4 }),
    sequence("chat", "waiting"),
    sequence("batch", "waiting"),
    sequence("batch", "paused"),
  ];
  const shares = [share("chat", 10), share("batch", 0), share("idle", 5)];
  const { apps } = frame(look(0, shares), look(1_000, shares, sequences));
  const rows = apps.map(({ app, running, waiting, paused, kvBlocks }) => [app, running, waiting, paused, kvBlocks]);
  assert.equal(rows, [
    ["chat", 1, 1, 0, 4],
    ["batch", 0, 1, 1, 0],
  ]);
});

test("where nothing happens the shares are those of all that was ever computed", () => {
  const shares = [share("chat", 10), share("batch", 30)];
  const { apps } = frame(look(0, shares), look(1_000, shares));
  assert.equal(
    apps.map(({ app, share }) => [app, share]),
    [
      ["batch", 0.75],
      ["chat", 0.25],
    ],
  );
});

test("a device's load is its time that went to quanta, of the time between the looks", () => {
  const [device] = frame(look(0, [], [], 500), look(2_000, [], [], 1_500)).devices;
  assert.equal([device!.load, device!.driver, device!.usedBytes / GB, device!.memoryBytes / GB], [0.5, "wasm", 2, 8]);
  // A scheduler that started anew counts from 0.
  assert.is(frame(look(0, [], [], 5_000), look(1_000, [], [], 100)).devices[0]!.load, 0);
});

test("it fits 80 columns and a small terminal, and aligns Chinese names", () => {
  const shares = Array.from({ length: 30 }, (_, i) => share(`应用-${i}`, 1e9 * (i + 1)));
  const zero = shares.map(({ principal }) => share(principal, 0));
  const lines = frameText(frame(look(0, zero), look(10, shares)), 15).split("\n");
  assert.ok(lines.length <= 15, `${lines.length} lines`);
  for (const line of lines) assert.ok(columns(line) <= 80, line);
  assert.match(lines.at(-1)!, /^\d+ more apps$/);
  const rows = lines.filter((line) => line.startsWith("应用"));
  assert.ok(rows.length > 3);
  assert.is(new Set(rows.map((line) => columns(line))).size, 1, "the last column ends at one place");
});

test.run();
