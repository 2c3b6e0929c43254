import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../kernel/abi/errors.ts";
import { ask } from "../../kernel/ipc/ask.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { type Bootstrap, register } from "../../kernel/ipc/identity.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { Server } from "../../kernel/ipc/server.ts";
import { Records } from "../../kernel/records.ts";
import { Registry } from "../../kernel/registry.ts";
import { STANDIN, until } from "../helpers/system.ts";
import { startWorld, type World } from "../helpers/world.ts";

let world: World;
let kernel: NatsBus;
let registry: Registry;
const endings: (() => Promise<void>)[] = [];
const refused = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => undefined,
    (caught) => caught,
  );
  assert.ok(error instanceof SomaError, `expected a refusal, got ${error}`);
  return error.code;
};

test.before(async () => {
  world = await startWorld({ stores: true });
  kernel = await world.connect("kernel");
  const system = world.authority.systemUser();
  const sys = await NatsBus.connect({
    url: world.url,
    name: system.name,
    jwt: () => system.jwt,
    seed: system.key.seed,
  });
  registry = new Registry({
    authority: world.authority,
    records: await Records.open(kernel),
    push: () => world.authority.push((subject, body) => ask(sys, subject, body)),
    url: () => world.url,
    grantKey: createKey("account").publicKey,
    secretsOf: (service) => (service === "auth" ? { hush: "hush" } : undefined),
  });
  const handlers = {
    register: (input: never, request: { caller: string }) => registry.register(request.caller, input),
    ready: async ({ epoch }: { epoch: number }, request: { caller: string }) => {
      await registry.ready(request.caller, epoch);
      return {};
    },
  };
  const crash = (error: unknown) => {
    throw error;
  };
  const options = { owner: "kernel", instance: "kernel", epoch: 1, handlers: handlers as never, crash } as const;
  new Server(kernel, options).start();
  await kernel.flush();
  endings.push(
    () => sys.close(),
    () => world.stop(),
  );
});
// uvu takes its hooks when run() is called: what is registered later would never run.
test.after(async () => {
  for (const end of endings) await end();
});

test("a bootstrap becomes an identity once, with the next epoch; secrets go to their service alone", async () => {
  const boot = await registry.issue("auth-1", "auth");
  const first = await register(boot);
  assert.equal([first.instance, first.epoch, first.secrets], ["auth-1", 1, { hush: "hush" }]);
  assert.is(await refused(register(boot)), "EPERM");
  const second = await register(await registry.issue("auth-1", "auth"));
  assert.is(second.epoch, 2);
  const other = await register(await registry.issue("memory-1", "memory"));
  assert.equal([other.instance, other.epoch, other.secrets], ["memory-1", 1, {}]);
});

test("a bootstrap is for its own service, and only the last one of an instance holds good", async () => {
  const boot = await registry.issue("device-1", "device");
  assert.is(await refused(register({ ...boot, service: "auth" })), "EPERM");
  const newer = await registry.issue("device-1", "device");
  assert.is(await refused(register(boot)), "EPERM");
  assert.is((await register(newer)).instance, "device-1");
});

test("a bootstrap may do nothing but register", async () => {
  const boot = await registry.issue("device-2", "device");
  const { seed } = boot;
  const bus = await NatsBus.connect({ url: world.url, name: boot.name, jwt: () => boot.jwt, seed });
  const denied: string[] = [];
  bus.on((event) => event.type === "denied" && denied.push(event.subject));
  const forbidden = [`sys.${boot.name}.kernel.any.ps`, "sys.device-2.kernel.any.register", "evt.kernel.life.x"];
  for (const subject of forbidden) bus.publish(subject, new Uint8Array(0));
  await until("all are denied", () => denied.length === forbidden.length);
  assert.equal(denied.sort(), forbidden.sort());
  await bus.close();
});

test("ready is for the present epoch", async () => {
  const first = await register(await registry.issue("model-1", "model"));
  await registry.ready("model-1", first.epoch);
  await registry.issue("model-1", "model");
  assert.is(await refused(registry.ready("model-1", first.epoch + 1)), "EPERM");
  await registry.down("model-1", first.epoch);
  assert.is(registry.record("model-1").state, "starting", "a successor is on its way");
});

test("a registration that the broker and the store refuse at once is refused, and the kernel lives", async () => {
  const away = () => Promise.reject(new SomaError("EIO", "the broker is away"));
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", note);
  const record = { epoch: 1, key: "U1", boot: "boot-1", state: "starting" as const };
  const records = { get: () => record, all: () => [["auth-1", record]], put: away } as never as Records;
  const authority = { revoke: () => {}, mintActor: () => "" } as never;
  const alone = new Registry({
    authority,
    records,
    push: away,
    url: () => "",
    grantKey: "",
    secretsOf: () => undefined,
  });
  const input = { service: "auth", publicKey: "U2", pid: 1, abi: 1 };
  assert.is(await refused(alone.register("boot-1", input)), "EIO");
  await new Promise((resolve) => setTimeout(resolve, 10));
  process.off("unhandledRejection", note);
  assert.equal(unhandled, []);
});

/** A real service process in its epoch, gone at the end whatever happens. */
function service(boot: Bootstrap): ChildProcess {
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), STANDIN], {
    env: { ...process.env, SOMA_BOOTSTRAP: JSON.stringify(boot) },
    stdio: "ignore",
  });
  endings.unshift(async () => void child.kill("SIGKILL"));
  return child;
}

test("a stale instance that wakes up cannot publish any more, and ends", async () => {
  const beats: string[] = [];
  const listening = kernel.subscribe("hb.scheduler.>", ({ subject }) => void beats.push(subject));
  const beaten = (epoch: number) =>
    until(`epoch ${epoch} beats`, () => beats.includes(`hb.scheduler.scheduler-1.${epoch}`));
  const stale = service(await registry.issue("scheduler-1", "scheduler"));
  await beaten(1);
  stale.kill("SIGSTOP");
  const successor = service(await registry.issue("scheduler-1", "scheduler"));
  await beaten(2);
  beats.length = 0;
  stale.kill("SIGCONT");
  await until("it ends by itself", () => stale.exitCode !== null);
  assert.is(stale.exitCode, 75);
  const seen = beats.length;
  await until("the successor beats on", () => beats.length > seen + 1);
  assert.equal([...new Set(beats)], ["hb.scheduler.scheduler-1.2"], "nothing of the former epoch came through");
  successor.kill("SIGTERM");
  await once(successor, "exit");
  listening.unsubscribe();
});

test.run();
