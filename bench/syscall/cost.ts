// What permissions and the audit cost: the same server and handler with both, and with permission `>` and neither, in turns.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { subjects } from "../../kernel/abi/subjects.ts";
import { Audit } from "../../kernel/ipc/audit.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { GrantTable } from "../../kernel/ipc/grants.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Handlers, Server, type ServerOptions } from "../../kernel/ipc/server.ts";
import { append } from "../../kernel/ipc/store.ts";
import { startKernel } from "../../test/helpers/kernel.ts";
import { startWorld } from "../../test/helpers/world.ts";
import { load, median } from "../figures.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "40" },
    calls: { type: "string", default: "1000" },
    /** Calls at a time in the second part. */
    at: { type: "string", default: "32" },
  },
});
const [rounds, calls, at] = [Number(values.rounds), Number(values.calls), Number(values.at)];
const GOAL = 1.15;

const world = await startWorld({ stores: true });
const kernel = await startKernel(world);
await kernel.start("auth");
const handlers: Partial<Handlers<"memory">> = { get: ({ key }) => ({ value: key, revision: 1 }) };

/** A person granted it: the broker checks a scoped user's permissions, the server the signed grant, and each call is recorded. */
async function checked(): Promise<Client> {
  let table: GrantTable | undefined;
  let bus: NatsBus | undefined;
  const audit = new Audit({
    ...{ instance: "memory-1", epoch: 1 },
    store: async (batch, id) => void (await append(bus!, subjects.audit("memory-1", 1), batch, id)),
    storesPrompts: (holder) => table?.find(holder)?.caveats.storePrompts === true,
    warn: (error) => {
      throw error;
    },
  });
  const served = await world.serve("memory", handlers, {
    audit,
    authorize: (...args) => table!.authorize(...args),
  });
  bus = served.bus;
  table = new GrantTable(kernel.grants.publicKey, { running: (holder) => served.server.runningOf(holder) });
  await table.follow(bus);
  const person = await world.client("person");
  const key = createKey("user");
  const { jwt } = await person.call("auth.grant", {
    ...{ holder: "alice", publicKey: key.publicKey, calls: ["memory.get"] },
    caveats: { concurrency: 1_000, maxTokens: 100 },
  });
  return new Client(await NatsBus.connect({ url: world.url, name: "alice", jwt: () => jwt, seed: key.seed }));
}

async function open(): Promise<Client> {
  const bus = await world.connect("memory-2");
  const crash = (error: unknown) => {
    throw error;
  };
  const options = { owner: "memory", instance: "memory-2", epoch: 1, crash } as const;
  new Server(bus, { ...options, handlers: handlers as ServerOptions["handlers"] }).start();
  await bus.flush();
  return world.client("bob");
}

/** us of processor that the broker has used. Its clock ticks 100 times a second. */
function brokerCpu(): number {
  const stat = readFileSync(`/proc/${world.broker.pid}/stat`, "utf8");
  const [user = 0, system = 0] = stat.slice(stat.lastIndexOf(")")).split(" ").slice(12, 14).map(Number);
  return (user + system) * 10_000;
}

interface Figure {
  /** Median us of one call, one at a time. */
  latency: number;
  /** us of one call's share, `at` at a time: the clock, the processor of client and server, that of the broker. */
  wall: number;
  cpu: number;
  broker: number;
}

async function measure(client: Client, instance: string): Promise<Figure> {
  const call = () => client.call("memory.get", { key: "a" }, { instance });
  const times: number[] = [];
  for (let i = 0; i < calls / 4; i++) {
    const start = performance.now();
    await call();
    times.push(1_000 * (performance.now() - start));
  }
  const [cpu, broker, start] = [process.cpuUsage(), brokerCpu(), performance.now()];
  let left = calls;
  await Promise.all(
    Array.from({ length: at }, async () => {
      while (left-- > 0) await call();
    }),
  );
  const used = process.cpuUsage(cpu);
  return {
    latency: median(times),
    wall: (1_000 * (performance.now() - start)) / calls,
    cpu: (used.user + used.system) / calls,
    broker: (brokerCpu() - broker) / calls,
  };
}

try {
  const sides = [
    { client: await open(), instance: "memory-2", figures: [] as Figure[] },
    { client: await checked(), instance: "memory-1", figures: [] as Figure[] },
  ] as const;
  for (let round = 0; round <= rounds; round++)
    for (const { client, instance, figures } of round % 2 === 0 ? sides : [...sides].reverse()) {
      const figure = await measure(client, instance);
      // The first round warms up.
      if (round > 0) figures.push(figure);
    }
  const [without, having] = sides.map(({ figures }) => figures) as [Figure[], Figure[]];
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const row = (name: string, of: (figure: Figure) => number, goal?: number, middle = median) => {
    const [a, b] = [middle(without.map(of)), middle(having.map(of))];
    const ratio = goal === undefined ? b / a : median(having.map((figure, i) => of(figure) / of(without[i]!)));
    const verdict = goal === undefined ? "" : `<= ${goal} ${ratio <= goal ? "met" : "missed"}`;
    const cells = [a.toFixed(1).padStart(10), b.toFixed(1).padStart(10), (b - a).toFixed(1).padStart(8)];
    console.log(`${name.padEnd(34)}${cells.join("")}  ${ratio.toFixed(3)}  ${verdict}`.trimEnd());
  };
  const head = ["permission >", "audited", "extra"].map((text, i) => text.padStart([12, 10, 8][i]!)).join("");
  console.log(`${"us of one call".padEnd(32)}${head}  ratio  goal\n${"-".repeat(80)}`);
  row("latency, one at a time", ({ latency }) => latency, GOAL);
  row(`clock, ${at} at a time`, ({ wall }) => wall, GOAL);
  row("processor, client and server", ({ cpu }) => cpu, GOAL);
  // Ticks of 10 ms: only the sum over all rounds says something.
  row("processor, broker", ({ broker }) => broker, undefined, mean);
  console.log(
    `\n${rounds} rounds of ${calls / 4} + ${calls} calls, each side in turn; ratios: median of the rounds' own.`,
  );
  console.log(`${load()} at the end.`);
  for (const { client } of sides) await client.bus.close();
} finally {
  await kernel.stop();
  await world.stop();
}
process.exit();
