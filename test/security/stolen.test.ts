// What whoever stole a service's credential could do at the broker: act as that service, and as nobody else. Role keys: see test/services/auth/role.test.ts.
import { headers } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../kernel/abi/codec.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import type { Service } from "../../kernel/abi/names.ts";
import { servicePermissions } from "../../kernel/abi/rights.ts";
import type { NatsBus } from "../../kernel/ipc/bus.ts";
import { Server } from "../../kernel/ipc/server.ts";
import { until } from "../helpers/system.ts";
import { startWorld, type World } from "../helpers/world.ts";

let world: World;
/** `caller call` of each request that reached a handler of the kernel. */
const executed: string[] = [];
/** Subjects of events and leases that a subscriber was handed. */
const heard: string[] = [];
let kernel: NatsBus;

test.before(async () => {
  world = await startWorld({ stores: true });
  kernel = await world.connect("kernel");
  const note =
    (call: string) =>
    (_: unknown, { caller }: { caller: string }) => {
      executed.push(`${caller} ${call}`);
      return {};
    };
  new Server(kernel, {
    owner: "kernel",
    instance: "kernel",
    epoch: 1,
    handlers: Object.fromEntries(["shutdown", "ps", "info"].map((call) => [call, note(call)])),
    crash: (error) => assert.unreachable(String(error)),
  }).start();
  for (const wide of ["evt.>", "hb.>"]) kernel.subscribe(wide, ({ subject }) => heard.push(subject));
  await kernel.flush();
});
test.after(() => world.stop());

const steal = (service: Service) => world.connect(`${service}-1`, servicePermissions(service, `${service}-1`, 1));

/** Where a forger would like the broker to speak for it. */
const FORGED = [
  "sys.person.kernel.any.shutdown",
  "sys.kernel.kernel.any.shutdown",
  "sys.model-1.kernel.kernel.ps",
  "evt.kernel.down.device.device-1.1",
  "hb.device.device-1.1",
];

test("the broker's own answers can be aimed anywhere, and are taken for nobody's words", async () => {
  const bus = await steal("memory");
  const call = headers();
  // As if to hide whose answer it is: the broker adds its own below.
  for (const name of ["Nats-Stream", "Nats-Sequence", "Nats-Subject", "Nats-Time-Stamp"]) call.append(name, "");
  call.set(HEADERS.id, "forged");
  await bus.nc.request("$KV.data.forged", encode({}), { headers: call, timeout: 5_000 });
  const read = async (reply: string) => {
    const direct = "$JS.API.DIRECT.GET.KV_data";
    bus.publish(`${direct}.$KV.data.forged`, new Uint8Array(0), undefined, reply);
    bus.publish(`${direct}.$KV.data.nothing`, new Uint8Array(0), undefined, reply);
    bus.publish(direct, Buffer.from('{"seq":1}'), undefined, reply);
    bus.publish("$JS.API.STREAM.MSG.GET.KV_data", Buffer.from('{"seq":1}'), undefined, reply);
    bus.publish("$JS.API.STREAM.INFO.KV_data", new Uint8Array(0), undefined, reply);
    bus.publish("$JS.API.STREAM.INFO.KV_data", Buffer.from("{"), undefined, reply);
    bus.publish("$JS.API.CONSUMER.INFO.KV_data.none", new Uint8Array(0), undefined, reply);
  };
  let arrived = 0;
  const watch = kernel.nc.subscribe(">", {
    callback: (_, { subject }) => void (FORGED.includes(subject) && arrived++),
  });
  const inbox: number[] = [];
  bus.subscribe("_INBOX.memory-1.mine", ({ data }) => inbox.push(data.length));
  for (const reply of [...FORGED, "_INBOX.memory-1.mine"]) await read(reply);
  while (inbox.length < 7) await new Promise((resolve) => setTimeout(resolve, 5));
  await until("all answers are there", () => arrived >= 7 * FORGED.length);
  await kernel.flush();
  watch.unsubscribe();
  assert.equal([executed, heard], [[], []]);
});

test.run();
