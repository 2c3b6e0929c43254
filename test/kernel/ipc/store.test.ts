import { createHash, randomBytes } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { servicePermissions } from "../../../kernel/abi/rights.ts";
import type { NatsBus } from "../../../kernel/ipc/bus.ts";
import { Objects } from "../../../kernel/ipc/objects.ts";
import { append, Kv, readStream } from "../../../kernel/ipc/store.ts";
import { SmallDisk } from "../../helpers/disk.ts";
import { until } from "../../helpers/system.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let bus: NatsBus;
test.before(async () => {
  world = await startWorld({ stores: true });
  bus = await world.connect("memory-1", servicePermissions("memory", "memory-1", 1));
});
test.after(() => world.stop());

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test("what a watch found is told by the time it resolves, however much it is", async () => {
  const kv = await Kv.open<number>(bus, "data");
  await Promise.all(Array.from({ length: 300 }, (_, i) => kv.put(`many.${i}`, i)));
  await kv.del("many.7");
  const seen = new Map<string, number>();
  const stop = await kv.watch((key, value) => value !== undefined && seen.set(key, value), "many.*");
  assert.is(seen.size, 299);
  stop();
});

test("sizes are those of the values, deleted keys are left out", async () => {
  const kv = await Kv.open<string>(bus, "data");
  await kv.put("sized.a", "x".repeat(100));
  await kv.put("sized.b", "");
  await kv.put("sized.c", "gone");
  await kv.del("sized.c");
  assert.equal([...(await kv.sizes("sized.*"))].sort(), [
    ["sized.a", 102],
    ["sized.b", 1],
  ]);
  assert.equal([...(await kv.sizes("nothing.*"))], []);
});

test("an object comes back byte for byte, whatever the pieces were", async () => {
  const objects = await Objects.open(bus, "blobs");
  for (const [size, piece] of [
    [0, 1],
    [1, 1],
    [128 * 1024, 64 * 1024],
    [3_000_001, 50_000],
  ] as const) {
    const bytes = randomBytes(size);
    const id = `o${size}`;
    assert.is(await objects.put(id, pieces(bytes, piece)), size);
    const hash = createHash("sha256");
    for await (const chunk of objects.read(id, size)) hash.update(chunk);
    assert.is(hash.digest("hex"), createHash("sha256").update(bytes).digest("hex"));
  }
  assert.equal((await objects.ids()).sort(), ["o1", "o131072", "o3000001"]);
  await objects.del("o1");
  assert.equal((await objects.ids()).sort(), ["o131072", "o3000001"]);
  await Promise.all(["o131072", "o3000001"].map((id) => objects.del(id)));
});

test("a put that fails in the middle leaves nothing, and its own error is told", async () => {
  const objects = await Objects.open(bus, "blobs");
  async function* broken() {
    yield new Uint8Array(300_000);
    throw new SomaError("EDQUOT", "too much");
  }
  const error = await objects.put("broken", broken()).catch((thrown: SomaError) => thrown);
  assert.is((error as SomaError).code, "EDQUOT");
  assert.equal(await objects.ids(), []);
});

test("an object that is deleted while it is read ends with ENOENT", async () => {
  const objects = await Objects.open(bus, "blobs");
  await objects.put("short", pieces(randomBytes(600_000), 64_000));
  const reader = objects.read("short", 600_000);
  await reader.next();
  await objects.del("short");
  const error = await reader.next().catch((thrown: SomaError) => thrown);
  assert.is((error as SomaError).code, "ENOENT");
});

test("a full stream refuses in words that say what to do, and takes again once there is room", async () => {
  const kernel = await world.connect("kernel");
  const jsm = await kernel.nc.jetstreamManager();
  await append(kernel, "job.submit.a", "x".repeat(300));
  const { config, state } = await jsm.streams.info("JOURNAL");
  await jsm.streams.update("JOURNAL", { ...config, max_bytes: state.bytes });
  const refusal = await append(kernel, "job.submit.b", "y").catch((error: SomaError) => error);
  assert.instance(refusal, SomaError);
  assert.is((refusal as SomaError).code, "EDQUOT");
  assert.match((refusal as SomaError).message, /is full: see "soma df"/);
  await jsm.streams.update("JOURNAL", config);
  assert.is((await append(kernel, "job.submit.b", "y")).duplicate, false);
});

const disk = SmallDisk.make(16);
if ("lacking" in disk) console.log(`SKIPPED a disk that is really full: ${disk.lacking}`);
else
  test("a full disk refuses in words that say what to do, and what was acknowledged is there after a crash", async () => {
    const small = await startWorld({ stores: true, js: disk.path });
    try {
      const kernel = await small.connect("kernel");
      const store = await Kv.open<string>(kernel, "data");
      const acknowledged = new Map<string, number>();
      const refused: SomaError[] = [];
      const write = async (n: number) => {
        const { seq } = await append(kernel, `job.submit.j${n}`, "x".repeat(1_000));
        acknowledged.set(`job.submit.j${n}`, seq);
        await store.put(`k${n}`, "y".repeat(1_000));
      };
      await write(0);
      disk.fill();
      for (let n = 1; n <= 20; n++) await write(n).catch((error) => refused.push(error));
      assert.ok(refused.length >= 10, `${refused.length} refused`);
      for (const { code, executed, retryable, message } of refused) {
        assert.equal([code, executed, retryable], ["EIO", "no", true]);
        assert.match(message, /the disk of the store .* is full: make room where SOMA_HOME lies, then try again/);
      }
      assert.is((await store.get("k0"))?.value.length, 1_000, "what is there can be read");
      disk.clear();
      await write(21);
      await small.restartBroker();
      await until("the broker is back", () => kernel.connected);
      const found: [string, number][] = [];
      for await (const { subject, seq } of readStream(kernel, "journal", {})) found.push([subject, seq]);
      assert.equal(found, [...acknowledged]);
    } finally {
      await small.stop();
      disk.remove();
    }
  });

test.run();
