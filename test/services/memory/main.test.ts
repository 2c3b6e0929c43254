// The real program: it learns what devices hold, and after a kill -9 knows it again.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../../kernel/abi/codec.ts";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { subjects } from "../../../kernel/abi/subjects.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { startKernel } from "../../helpers/kernel.ts";
import { startWorld } from "../../helpers/world.ts";

test("reservations follow the devices through reports, kills of memory and ends of devices", async () => {
  const world = await startWorld({ stores: true });
  const processes: { id: string; state: string }[] = [];
  const kernel = await startKernel(world, { ps: () => ({ processes }) });
  try {
    let program = await kernel.start("memory");
    const row = { model: "tiny@1", weightBytes: 300, kvBytes: 200 };
    let models: (typeof row)[] = [];
    const list = () => ({ device: "device-1", budgetBytes: 1000, models });
    const { bus } = await world.serve("device", { list: list as never });
    const device = new Client(bus);
    const person = await world.client("person");
    const reserve = (holder: string, bytes: number, retry = true) =>
      device.call("memory.reserve", { device: "device-1", holder, kind: "weights", bytes }, { ttl: 10_000, retry });
    const free = async () => (await person.call("memory.free", {})).devices[0];

    // Not in any report yet: memory asks the device itself, and the caller is repeated until it has.
    assert.equal(await reserve("tiny@1/weights", 300), { freeBytes: 700 });
    assert.is((await free())?.weightBytes, 300);
    models = [row];
    bus.publish(subjects.event("device-1", "device"), encode(list()));
    while ((await free())?.kvBytes !== 200) await new Promise((resolve) => setTimeout(resolve, 10));
    const short = await reserve("big/weights", 501, false).catch((error: SomaError) => error);
    assert.is((short as SomaError).code, "EAGAIN");

    await kernel.kill("memory", program);
    processes.push({ id: "device-1", state: "ready" }, { id: "device-2", state: "starting" });
    program = await kernel.start("memory");
    assert.equal(await reserve("small/weights", 400), { freeBytes: 100 });
    assert.equal((await free())?.holders.map(({ holder }) => holder).sort(), [
      "small/weights",
      "tiny@1/kv",
      "tiny@1/weights",
    ]);
    assert.is((await device.call("memory.release", { device: "device-1", holder: "small/weights" })).freeBytes, 500);

    kernel.bus.publish(subjects.down("device", "device-1", 1), new Uint8Array(0));
    while ((await free()) !== undefined) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal((await person.call("memory.stat", {})).state, "serving");
  } finally {
    await kernel.stop();
    await world.stop();
  }
});

test.run();
