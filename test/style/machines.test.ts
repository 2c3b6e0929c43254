// Every machine of the product: found by itself, and each of its states and transitions driven by pure paths. New ones fail here until they are named.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AnyStateMachine, createActor, fromCallback, SimulatedClock } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import { childMachine } from "../../kernel/child.ts";
import { keptMachine } from "../../kernel/launcher/kept.ts";
import { loadManifest } from "../../kernel/manifest.ts";
import { supervisorMachine } from "../../kernel/supervisor.ts";
import { TENURE, tenureMachine } from "../../kernel/tenure.ts";
import { authMachine } from "../../services/auth/machine.ts";
import { jobMachine as deviceJob } from "../../services/device/job.ts";
import { deviceMachine } from "../../services/device/machine.ts";
import { modelMachine as deviceModel } from "../../services/device/model.ts";
import { memoryMachine } from "../../services/memory/machine.ts";
import { jobMachine } from "../../services/model/job.ts";
import { modelMachine } from "../../services/model/machine.ts";
import { requestMachine } from "../../services/model/request.ts";
import { residentMachine } from "../../services/model/resident.ts";
import { schedulerMachine } from "../../services/scheduler/machine.ts";

type Event = { type: string; [field: string]: unknown };
interface Machine {
  file: string;
  machine: AnyStateMachine;
  /** Beginnings. */
  inputs?: unknown[];
  /** What may happen, besides the ends and delays that the machine itself names. */
  events: Event[];
  /** What invoked actors may answer. */
  outputs?: unknown[];
  errors?: unknown[];
}

const soon = new SomaError("EAGAIN", "later");
const crashed = new SomaError("ESERVICEDOWN", "down");
const wrong = new SomaError("EINVAL", "wrong");
const exit = (code: number): Event => ({ type: "exit", code, signal: null, lines: [] });
let now = 0;
const specs = loadManifest().flatMap((spec) => [
  { ...spec, intensity: 1 },
  { ...spec, restart: "transient" as const, intensity: 3 },
  { ...spec, core: true, intensity: 0 },
]);
const load = { mid: "m", input: { model: "a" } };
const job = { id: "j", input: {}, owner: {}, submittedAt: 0, attempts: 0, crashes: 0, curve: [] };
const prepared = { data: "d", dataHash: "h", spec: {}, note: "" };
const progress = { step: 1, loss: 1 };

const MACHINES: Machine[] = [
  {
    file: "kernel/child.ts",
    machine: childMachine({ now: () => now, random: () => 0.5 }) as never,
    inputs: specs.map((spec) => ({ instance: "memory-1", spec })),
    events: [
      ...["start", "ready", "suspect", "beat", "stop", "restart"].map((type) => ({ type })),
      ...[true, false].map((ready) => ({ type: "adopt", pid: 1, epoch: 1, registered: ready, ready, age: 0 })),
      { type: "spawned", pid: 1 },
      { type: "registered", epoch: 1 },
      { type: "condemn", reason: "hangs" },
      exit(0),
      exit(1),
    ],
  },
  {
    file: "kernel/launcher/kept.ts",
    machine: keptMachine as never,
    events: [{ type: "UP" }, { type: "DIED", at: 0 }, { type: "STOP" }],
  },
  {
    file: "kernel/supervisor.ts",
    machine: supervisorMachine({ limit: 1 }) as never,
    inputs: [{ order: ["a", "b"] }],
    events: [
      { type: "boot" },
      { type: "added", instance: "c" },
      { type: "shutdown" },
      ...["settled", "stopped", "failed"].flatMap((type) => ["a", "b"].map((instance) => ({ type, instance }))),
    ],
  },
  {
    file: "kernel/tenure.ts",
    machine: tenureMachine as never,
    inputs: [{ at: 0 }],
    events: [
      ...[0, 1, 2].flatMap((revision) =>
        [true, false].map((ours) => ({ type: "SEEN", revision, ours, at: 2 * TENURE.take })),
      ),
      { type: "WRITTEN", revision: 1, at: 0 },
      ...["REFUSED", "FAILED"].map((type) => ({ type, at: 0 })),
      ...[0, 2 * TENURE.doubt].map((at) => ({ type: "TICK", at })),
    ],
  },
  {
    file: "services/auth/machine.ts",
    machine: authMachine as never,
    inputs: [{ waiting: [] }],
    events: [{ type: "revoke", revocations: [{ id: "r", publicKeys: [], until: null, mid: "m" }] }],
    errors: [soon],
  },
  {
    file: "services/memory/machine.ts",
    machine: memoryMachine as never,
    inputs: [{ now: () => now }],
    events: [
      { type: "report", report: { device: "d", budgetBytes: 1, models: [] } },
      { type: "down", device: "d" },
      { type: "running", devices: [] },
      { type: "reserve", mid: "m", input: { device: "d", holder: "h", kind: "kv", bytes: 2 } },
      { type: "release", mid: "m", input: { device: "d", holder: "h" } },
    ],
  },
  { file: "services/scheduler/machine.ts", machine: schedulerMachine as never, events: [] },
  {
    file: "services/device/job.ts",
    machine: deviceJob as never,
    inputs: [{ mid: "m", input: {} }],
    events: [{ type: "progress", progress }, { type: "cancel" }],
  },
  {
    file: "services/device/model.ts",
    machine: deviceModel as never,
    inputs: [load],
    events: [
      { type: "load", ...load },
      { type: "unload", mid: "m", model: "a" },
      { type: "run", mid: "m", model: "a", input: {} },
    ],
    errors: [wrong, new Error("bug")],
  },
  {
    file: "services/device/machine.ts",
    machine: deviceMachine as never,
    events: [
      ...["a", "b"].map((model) => ({ type: "load", mid: "m", input: { model } })),
      { type: "run", mid: "m", model: "a", input: {} },
      { type: "unload", mid: "m", model: "a" },
      { type: "train", mid: "m", input: {} },
      { type: "progress", mid: "m", progress },
      { type: "cancel", mid: "m" },
    ],
  },
  {
    file: "services/model/job.ts",
    machine: jobMachine as never,
    inputs: [
      job,
      { ...job, crashes: 3 },
      { ...job, crashes: 2 },
      { ...job, crashes: 2, prepared },
      { ...job, crashes: 2, prepared, trained: {} },
      { ...job, crashes: 2, prepared, eval: {} },
      { ...job, crashes: 2, version: 1, input: { deploy: "x" } },
      { ...job, prepared },
      { ...job, prepared, eval: {} },
      { ...job, prepared, trained: {} },
      { ...job, version: 1, input: { deploy: "x" } },
    ],
    events: [
      { type: "start" },
      { type: "stop" },
      { type: "asked", request: "r" },
      { type: "progress", progress },
      { type: "progress", progress: { ...progress, checkpoint: "blob:c" } },
      ...["steps", "diverged"].map((stopped) => ({ type: "trained", output: { stopped, weights: "w", steps: 1 } })),
      ...[soon, crashed, wrong, new Error("bug")].map((error) => ({ type: "broken", error })),
    ],
    outputs: [prepared, 1],
    errors: [soon, crashed, wrong, new Error("bug")],
  },
  {
    file: "services/model/machine.ts",
    machine: modelMachine as never,
    events: [{ type: "request", mid: "m", call: "c" }, { type: "job", job }, { type: "strange" }],
  },
  {
    file: "services/model/request.ts",
    machine: requestMachine as never,
    inputs: [{ mid: "m", call: "c" }],
    events: [{ type: "cancel" }],
    errors: [crashed, wrong],
  },
  {
    file: "services/model/resident.ts",
    machine: residentMachine.provide({ guards: { unwanted: () => true } }) as never,
    inputs: [{ id: "i" }],
    events: [{ type: "need", who: "w" }, { type: "release", who: "w" }, { type: "changed" }, { type: "retire" }],
  },
];

interface Node {
  id: string;
  states: Record<string, Node>;
  transitions: Map<string, object[]>;
  always?: object[];
}

/** Name -> states and transitions of a machine, below a node. */
function parts(node: Node, all = new Map<object, string>()): Map<object, string> {
  all.set(node, node.id);
  for (const [event, list] of node.transitions)
    for (const [i, one] of list.entries()) all.set(one, `${node.id} --${event}[${i}]`);
  for (const [i, one] of (node.always ?? []).entries()) all.set(one, `${node.id} --always[${i}]`);
  for (const child of Object.values(node.states)) parts(child, all);
  return all;
}

/** Walks at random, from each beginning, until all was reached or patience is at its end; gives what was not. */
function missed({ machine, inputs = [undefined], events, outputs = [{}], errors = [wrong] }: Machine): string[] {
  const implementations = machine.implementations;
  const idle = fromCallback(() => {});
  const quiet = machine.provide({
    actions: Object.fromEntries(
      Object.entries(implementations.actions).map(([name, action]) => [
        name,
        // What the machine does itself is kept; what it asks of the world is not done.
        typeof action === "function" && !("resolve" in action) ? () => {} : action,
      ]),
    ) as never,
    actors: Object.fromEntries(Object.keys(implementations.actors).map((name) => [name, idle])) as never,
  });
  const left = parts(quiet.root as never);
  const names = [...new Set([...left.values()].flatMap((text) => /--(.*)\[/.exec(text)?.[1] ?? []))];
  const own = names.flatMap((type): Event[] => {
    if (type.startsWith("xstate.done."))
      return outputs.map((output) => ({ type: type.replace("*", "x"), output, actorId: "x" }));
    if (type.startsWith("xstate.error.")) return errors.map((error) => ({ type, error }));
    return type.startsWith("xstate.after.") ? [{ type }] : [];
  });
  const choices = [...events, ...own];
  let chance = 1;
  const pick = <T>(items: readonly T[]): T => {
    // xorshift32
    chance ^= chance << 13;
    chance ^= chance >>> 17;
    chance ^= chance << 5;
    return items[(chance >>> 0) % items.length]!;
  };
  for (let walk = 0; walk < 3_000 && left.size > 0; walk++) {
    const actor = createActor(quiet, {
      input: pick(inputs),
      clock: new SimulatedClock(),
      inspect: (event) => {
        if (event.type !== "@xstate.microstep" && event.type !== "@xstate.snapshot") return;
        for (const taken of (event as { _transitions?: object[] })._transitions ?? []) left.delete(taken);
        for (const node of (event.snapshot as { _nodes?: object[] })._nodes ?? []) left.delete(node);
      },
    });
    // An effect that throws, as some do for a bug, ends the walk.
    actor.subscribe({ error: () => {} });
    actor.start();
    for (let step = 0; step < 40 && actor.getSnapshot().status === "active"; step++) {
      now += pick([0, 0, 0, 40_000]);
      const possible = choices.filter((event) => actor.getSnapshot().can(event));
      // What a state takes and does nothing about counts as impossible: tried, too.
      const event = pick(possible.length === 0 || pick([0, 1, 2]) === 0 ? choices : possible);
      // Looked up as well, since an effect that throws is never told of.
      for (const taken of quiet.getTransitionData(actor.getSnapshot() as never, event)) left.delete(taken);
      actor.send(event);
    }
    actor.stop();
  }
  return [...left.values()];
}

test("every machine of the product is known here", () => {
  const found = execFileSync("git", ["ls-files", "kernel", "services", "userland", "apps"], { encoding: "utf8" })
    .trim()
    .split("\n")
    .filter(
      (file) =>
        file.endsWith(".ts") && /import \{[^}]*\bsetup\b[^}]*\} from "xstate"/s.test(readFileSync(file, "utf8")),
    );
  assert.equal(
    MACHINES.map(({ file }) => file).sort(),
    found.sort(),
    "add the new machine to MACHINES, with its events",
  );
});

for (const machine of MACHINES)
  test(`${machine.file} reaches each of its states and transitions`, () => assert.equal(missed(machine), []));

test.run();
