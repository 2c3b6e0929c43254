// Three brokers that keep every stream together, two kernels, services in launchers of their own: a broker is killed, then a kernel.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../kernel/abi/errors.ts";
import type { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { append } from "../../kernel/ipc/store.ts";
import { Site } from "../helpers/site.ts";
import { AUTH, ps, STANDIN, services, until } from "../helpers/system.ts";

let site: Site;
let bus: NatsBus;

test.before(async () => {
  site = await Site.start(
    [
      { service: "auth", entry: AUTH, core: true },
      { service: "memory", entry: "services/memory/main.ts" },
      { service: "scheduler", entry: STANDIN },
    ],
    3,
  );
  bus = await site.world.connect("kernel");
});
test.after(() => site.stop());

const leader = async (stream: string) =>
  (await (await bus.nc.jetstreamManager()).streams.info(stream)).cluster?.leader ?? "";

/** Does `work` again and again, as a caller would: what fails is tried again. Keeps what was accepted and the longest time without. */
function load(work: (n: number) => Promise<unknown>) {
  const accepted: number[] = [];
  let longest = 0;
  let going = true;
  const done = (async () => {
    let last = performance.now();
    for (let n = 0; going; n++) {
      try {
        await work(n);
        accepted.push(n);
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      } catch (error) {
        if (!isSomaError(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  })();
  done.catch(() => {});
  return {
    accepted,
    gap: () => Math.round(longest),
    async end(): Promise<void> {
      going = false;
      await done;
    },
  };
}

/** Number of each submit that the journal holds -> how often. */
async function journal(prefix: string): Promise<Map<number, number>> {
  const jsm = await bus.nc.jetstreamManager();
  const { state } = await jsm.streams.info("JOURNAL", { subjects_filter: "job.submit.>" });
  const before = `job.submit.${prefix}-`;
  const own = Object.entries(state.subjects ?? {}).filter(([subject]) => subject.startsWith(before));
  return new Map(own.map(([subject, times]) => [Number(subject.slice(before.length)), times]));
}

test("every stream is kept by all three", async () => {
  const jsm = await bus.nc.jetstreamManager();
  let streams = 0;
  for await (const { config } of jsm.streams.list()) {
    assert.is(config.num_replicas, 3, config.name);
    streams++;
  }
  assert.ok(streams > 10);
});

for (const victim of ["the broker that leads the journal", "the active kernel"]) {
  test(`${victim} is killed under load: nothing accepted is lost, and all goes on`, async () => {
    const name = victim.split(" ").at(-1)!;
    const person = new Client(await site.world.connect("person"));
    const before = services(await ps(site.client));
    const calls = load(() => site.client.call("scheduler.stat", {}, { ttl: 1_000 }));
    const submits = load((n) => append(bus, `job.submit.${name}-${n}`, { n }, `${name}-${n}`));
    const values = load((n) => person.call("memory.put", { key: `${name}-${n}`, value: n, namespace: "load" }));
    const both = [submits, values];
    await until("there is load", () => both.every(({ accepted }) => accepted.length > 50));
    const epoch = await site.epoch();
    const began = performance.now();
    if (name === "journal") {
      process.kill(site.world.node(await leader("JOURNAL")).pid!, "SIGKILL");
    } else {
      site.signal(site.kernels[0]!, "SIGKILL");
      console.log(`kernel: taken over after ${await site.takeover(epoch)} ms`);
    }
    const then = both.map(({ accepted }) => accepted.length);
    await until("each takes more", () => both.every(({ accepted }, i) => accepted.length > then[i]! + 50));
    console.log(`${name}: all goes on after ${Math.round(performance.now() - began)} ms`);
    for (const one of [calls, ...both]) await one.end();
    console.log(`longest without: call ${calls.gap()} ms, submit ${submits.gap()} ms, memory.put ${values.gap()} ms`);
    const kept = await journal(name);
    assert.equal(
      submits.accepted.filter((n) => !kept.has(n)),
      [],
      `of ${submits.accepted.length} accepted submits none is lost`,
    );
    assert.ok(
      [...kept.values()].every((times) => times === 1),
      "and none is there twice",
    );
    const { keys } = await person.call("memory.keys", { namespace: "load", prefix: `${name}-` });
    assert.equal(
      values.accepted.filter((n) => !keys.includes(`${name}-${n}`)),
      [],
    );
    for (const [id] of before) await site.kernels.at(-1)!.state(site.client, String(id), "ready");
    assert.equal(services(await ps(site.client)), before, "no service was restarted");
    await person.bus.close();
  });
}

test.run();
