// Two kernels on one broker, each with a launcher and a home of its own, and services in launchers of their own, as in containers.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { launcherPermissions } from "../../kernel/abi/rights.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { formatCreds, parseCreds } from "../../kernel/ipc/jwt.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { rules } from "../../kernel/registry.ts";
import { AUTH, kernelRow, ps, STANDIN, System, services, until } from "../helpers/system.ts";
import { startWorld, type World } from "../helpers/world.ts";

const directory = mkdtempSync(join(tmpdir(), "soma-standby-"));
const PERSON_FILE = join(directory, "person.creds");
const specs = [
  { service: "auth", entry: AUTH, core: true, place: "container" },
  { service: "memory", entry: STANDIN, place: "container" },
  { service: "scheduler", entry: STANDIN, place: "container" },
] as const;
const launchers = new Map<string, ChildProcess>();
const kernels: System[] = [];
let world: World;
let client: Client;

const startKernel = (): System => {
  const env = { NATS_URL: world.url, SOMA_KEYS: world.home.keys, SOMA_CREDS_FILE: PERSON_FILE };
  const system = new System(specs, env);
  kernels.push(system);
  return system;
};

/** A launcher of its own for a service, as in a container. */
function startLauncher(service: (typeof specs)[number]["service"], name: string = service): ChildProcess {
  const key = createKey("user");
  const actor = { name: `boot-launcher-${service}`, publicKey: key.publicKey };
  const jwt = world.authority.mintActor({ ...actor, permissions: rules(launcherPermissions(service)) });
  const creds = join(directory, `${name}.creds`);
  writeFileSync(creds, formatCreds({ name: actor.name, jwt, key }));
  const env = { ...process.env, NATS_URL: world.url, SOMA_LAUNCHER: creds, SOMA_HOME: join(directory, name) };
  const child = spawn(process.execPath, ["--import", "tsx", "kernel/launcher/join.ts"], { env, stdio: "ignore" });
  launchers.set(name, child);
  return child;
}

const health = ({ home }: System) => {
  try {
    return readFileSync(join(home, "run/health"), "utf8").trim();
  } catch {
    return "";
  }
};
const epochNow = async () => (await kernelRow(client)).epoch!;
const signalAll = (system: System, signal: NodeJS.Signals) => {
  for (const pid of system.processes()) process.kill(pid, signal);
};
/** ms until a kernel of another epoch answers. */
async function takeover(epoch: number): Promise<number> {
  const began = performance.now();
  await until("another kernel answers", async () => (await epochNow()) > epoch);
  return performance.now() - began;
}

test.before(async () => {
  world = await startWorld();
  for (const { service } of specs) startLauncher(service);
  const first = startKernel();
  await until("the first kernel serves", () => first.text.includes("all services are up"), first);
  const { name, jwt, key } = parseCreds(readFileSync(PERSON_FILE, "utf8"));
  client = new Client(await NatsBus.connect({ url: world.url, name, jwt: () => jwt, seed: key.seed }));
  const second = startKernel();
  await until("the second one stands by", () => health(second) === "waiting", second);
});
test.after(async () => {
  await client.bus.close();
  for (const child of launchers.values()) child.kill("SIGKILL");
  for (const system of kernels) await system.stop();
  await world.stop();
  rmSync(directory, { recursive: true, force: true });
});

test("a kernel that stands by starts nothing, answers nothing, and takes over from one that is killed: all is adopted", async () => {
  const [first, second] = kernels as [System, System];
  const before = services(await ps(client));
  assert.is(before.length, specs.length);
  const epoch = await epochNow();
  let calls = 0;
  let going = true;
  const load = (async () => {
    for (; going; calls++) await client.call("memory.get", { key: "x" }, { retry: false });
  })();
  load.catch(() => {});
  signalAll(first, "SIGKILL");
  console.log(`killed: taken over after ${Math.round(await takeover(epoch))} ms`);
  for (const { service } of specs) await second.state(client, `${service}-1`, "ready");
  assert.equal(services(await ps(client)), before, "same processes, same epochs");
  assert.is(await epochNow(), epoch + 1);
  going = false;
  await load;
  assert.ok(calls > 10, `${calls} calls went through`);
});

test("a kernel that was stopped finds itself succeeded when it wakes up, writes nothing, and stands by", async () => {
  const [, second] = kernels as [System, System];
  const third = startKernel();
  await until("the third one stands by", () => health(third) === "waiting", third);
  const before = services(await ps(client));
  const epoch = await epochNow();
  signalAll(second, "SIGSTOP");
  console.log(`stopped: taken over after ${Math.round(await takeover(epoch))} ms`);
  const account = readFileSync(join(world.home.keys, "account.json"), "utf8");
  signalAll(second, "SIGCONT");
  await until("the former kernel has ended", () => second.text.includes("the kernel died"), second);
  await until("its next one stands by", () => health(second) === "waiting", second);
  assert.is(readFileSync(join(world.home.keys, "account.json"), "utf8"), account);
  assert.equal([await epochNow(), services(await ps(client))], [epoch + 1, before]);
});

test("a kernel that is told to end hands over: services go on, and nobody waits for its lease", async () => {
  const [, second, third] = kernels as [System, System, System];
  const before = services(await ps(client));
  const epoch = await epochNow();
  // It hears of the other one within a moment.
  await new Promise((resolve) => setTimeout(resolve, 500));
  third.launcher.kill("SIGTERM");
  assert.equal(await third.ended, [0, null]);
  console.log(`handed over within ${Math.round(await takeover(epoch))} ms of its end`);
  for (const { service } of specs) await second.state(client, `${service}-1`, "ready");
  assert.equal(services(await ps(client)), before);
});

test("of two launchers for a service one is active: when it is killed or stopped the other takes over, in the next epoch", async () => {
  const system = kernels[1]!;
  let epoch = (await system.state(client, "scheduler-1", "ready")).epoch!;
  let active = launchers.get("scheduler")!;
  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    const spare = startLauncher("scheduler", `spare-${signal.toLowerCase()}`);
    await until("it stands by", () => {
      try {
        return (
          readFileSync(join(directory, `spare-${signal.toLowerCase()}`, "run/health"), "utf8").trim() === "waiting"
        );
      } catch {
        return false;
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 600));
    const { pid } = await system.state(client, "scheduler-1", "ready");
    const began = performance.now();
    if (signal === "SIGSTOP") process.kill(pid!, signal);
    active.kill(signal);
    const next = await system.state(client, "scheduler-1", "ready", (row) => row.epoch! > epoch);
    console.log(`scheduler, ${signal}: ready again after ${Math.round(performance.now() - began)} ms`);
    assert.is(next.epoch, epoch + 1);
    epoch = next.epoch!;
    if (signal === "SIGSTOP") {
      process.kill(pid!, "SIGCONT");
      active.kill("SIGCONT");
      await until("the former process has ended", () => !runs(pid!));
    }
    active = spare;
  }
});

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.run();
