// Owns one run: a seed in, what happened out. Faults for a while, then calm, then an ordered stop; checked all along and at the end.
import { SERVICES } from "../../kernel/abi/names.ts";
import { BLOCKS, device, MODELS } from "./device.ts";
import { Faults } from "./faults.ts";
import { kernelProgram } from "./kernel.ts";
import { model } from "./model.ts";
import { mutate } from "./mutants.ts";
import { People } from "./people.ts";
import { auth, memory, scheduler } from "./services.ts";
import { checkSupervision } from "./supervision.ts";
import { Process, World } from "./world.ts";

export interface Outcome {
  seed: number;
  events: number;
  hash: string;
  struck: Record<string, number>;
  checked: Record<string, number>;
  violations: string[];
  outcomes: Record<string, number>;
}

const PROGRAMS = { kernel: kernelProgram, auth, memory, device, scheduler, model };

/** Simulated ms of faults, and of calm until everything must be settled. */
const FAULTY_MS = 4_500;
const CALM_MS = 70_000;
/** Nobody asks for so long: simulated ms. Timers that turn, beats and what follows them are so many events of one process, at most. */
const QUIET_MS = 500;
const QUIET_EVENTS = 100;
/** Messages of one process within 100 ms, at most: 500 seeds had up to 76, a storm of drops thousands. */
const FLOOD = 200;
/** What stops must stop within. */
const STOP_MS = 10_000;
/** Events from one milestone of a run to the next, at most. */
const STEPS = 400_000;

/** `mutant`: a promise of the product that is broken on purpose. */
export async function runSeed(seed: number, trace?: (line: string) => void, mutant?: string): Promise<Outcome> {
  const repair = mutant === undefined ? () => {} : mutate(mutant);
  const world = new World(seed, PROGRAMS);
  const { clock } = world;
  clock.trace = trace;
  const restore = clock.install();
  // The product's processes die of it, and say so.
  const bug = (error: unknown) => {
    const who = world.clock.current;
    world.bug(error);
    if (who instanceof Process && world.processes.get(who.id) === who) world.end(who, 70, null);
  };
  process.on("uncaughtException", bug);
  process.on("unhandledRejection", bug);
  const people = new People(world);
  try {
    await run(world, people);
  } finally {
    restore();
    repair();
    process.off("uncaughtException", bug);
    process.off("unhandledRejection", bug);
  }
  return {
    seed,
    events: clock.events,
    hash: clock.hash.toString(16).padStart(8, "0"),
    struck: Object.fromEntries(world.struck),
    checked: Object.fromEntries(world.checked),
    violations: world.violations,
    outcomes: Object.fromEntries(people.outcomes),
  };
}

async function run(world: World, people: People): Promise<void> {
  const { clock } = world;
  const faults = new Faults(world);
  world.startKernel();
  people.start(150);
  clock.after(500, "faults", () => faults.start(), null);
  await until(world, () => clock.now >= FAULTY_MS);
  faults.stop();
  people.busy = false;

  const settled = () => people.open === 0 && allReady(world) && jobsAreOver(world, people);
  const until_ = clock.now + CALM_MS;
  await until(world, () => settled() || clock.now > until_);
  world.check("everybody is back", allReady(world), () => states(world));
  world.check("accepted jobs end", jobsAreOver(world, people), () => JSON.stringify(jobStates(world)));
  const registered = world.store.values<{ job: string }>("models").length;
  const done = Object.values(jobStates(world)).filter((state) => state === "done").length;
  world.check("a job has its effect once", registered === done, () => `${done} done, ${registered} registered`);
  world.check("nobody waits for ever", people.open === 0, () => `${people.open} requests`);
  await leftovers(world, people);
  await quiet(world);

  // A kernel that hung at the end of the faults was killed meanwhile.
  const again = clock.now + CALM_MS;
  await until(world, () => allReady(world) || clock.now > again);
  const began = clock.now;
  // One that stands still, or is no more, cannot: then the launcher ends everything.
  const able = world.kernel?.paused === false;
  world.interrupt();
  await until(world, () => world.stopped !== undefined || clock.now > began + STOP_MS);
  const stops = world.stopped === 0 || (world.stopped === 1 && !able);
  world.check("the system stops", stops, () => `exit ${world.stopped}, ${states(world)}`);
  checkSupervision(world, began);
  const { name, messages } = world.broker.busiest;
  world.check("nobody floods the bus", messages <= FLOOD, () => `${name} sent ${messages} messages within 100 ms`);
  world.check("no actor has a bug", world.bugs === 0, () => `${world.bugs} have, as said`);
}

/** What was lent has come back: KV blocks by an answer that needs them all, memory and leases by their owners' books. */
async function leftovers(world: World, people: People): Promise<void> {
  const { clock } = world;
  let done: boolean | undefined;
  const given = clock.now + 20_000;
  const ask = () =>
    void people.everything(MODELS[0]!, BLOCKS).then((complete) => {
      // It may come too early, while somebody is on the way back.
      if (complete || clock.now > given) done = complete;
      else clock.after(500, "again", ask, null);
    });
  ask();
  await until(world, () => done !== undefined);
  world.check("all KV blocks come back", done === true, () => "a request for all of them was not answered");
  const end = clock.now + 6_000;
  const residents = () => [...world.devices.values()].flatMap((models) => [...models.values()]);
  const used = () => residents().reduce((sum, { kv }) => sum + kv.count - kv.free, 0);
  const held = () =>
    residents().map((one) => `${one.model} has ${one.row().sequences} sequences and ${one.parking.size} put aside`);
  await until(world, () => (used() === 0 && world.board?.sequences.size === 0) || clock.now > end);
  world.check("devices hold no sequence that is over", used() === 0, () => `${used()} blocks: ${held()}`);
  world.check("the scheduler's board is empty", world.board?.sequences.size === 0, () =>
    [...(world.board?.sequences.values() ?? [])]
      .map(({ id, input, device }) => `${id} on ${device} for ${input.model}`)
      .join(", "),
  );
  const aside = () => [...world.aside.values()].reduce((sum, amount) => sum + amount, 0);
  const returned = clock.now + 65_000;
  await until(world, () => aside() === 0 || clock.now > returned);
  world.check("no budget stays set aside", aside() === 0, () => `${aside()} are`);
  const resident = new Set([...world.devices.values()].flatMap((models) => [...models.keys()]));
  const lent = Object.values(world.budgets ?? {}).flatMap(({ holders }) => Object.keys(holders));
  const orphans = lent.filter((holder) => !resident.has(holder.split("/")[0]!));
  world.check("no memory is lent to what is not there", orphans.length === 0, () => orphans.join(", "));
}

/** All is over and given back, and nobody goes round in circles. */
async function quiet(world: World): Promise<void> {
  const { clock } = world;
  const before = new Map(clock.ran);
  const end = clock.now + QUIET_MS;
  await until(world, () => clock.now >= end);
  for (const [id, count] of clock.ran) {
    const since = count - (before.get(id) ?? 0);
    world.check("who has nothing to do is quiet", since <= QUIET_EVENTS, () => `${id}: ${since} events`);
  }
}

async function until(world: World, done: () => boolean): Promise<void> {
  let guard = 0;
  while (!done() && guard++ < STEPS && (await world.clock.step()));
  world.check("a run ends", guard <= STEPS, () => "it goes on and on");
}

function allReady(world: World): boolean {
  const children = world.supervision?.children;
  return (
    world.kernel !== undefined &&
    children !== undefined &&
    SERVICES.every((service) => children.get(`${service}-1`)?.getSnapshot().value === "ready")
  );
}

function states(world: World): string {
  const children = [...(world.supervision?.children ?? [])];
  return `kernel ${world.kernel?.pid}, ${children.map(([id, actor]) => `${id} ${actor.getSnapshot().value}`).join(", ")}`;
}

function jobStates(world: World): Record<string, string> {
  return Object.fromEntries(world.store.values<{ state: string }>("jobs").map(([id, { state }]) => [id, state]));
}

function jobsAreOver(world: World, people: People): boolean {
  const rows = jobStates(world);
  return [...people.jobs].every((id) => ["done", "setAside"].includes(rows[id] ?? "lost"));
}
