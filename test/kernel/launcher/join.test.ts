import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { launcherPermissions } from "../../../kernel/abi/rights.ts";
import { Hosts } from "../../../kernel/hosts.ts";
import { formatCreds } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { loadManifest } from "../../../kernel/manifest.ts";
import { rules } from "../../../kernel/registry.ts";
import { until } from "../../helpers/system.ts";
import { startWorld, type World } from "../../helpers/world.ts";

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "soma-join-"));
const launchers: ChildProcess[] = [];
const said: string[] = [];
let world: World;
let hosts: Hosts;
let ticking: NodeJS.Timeout;

/** A launcher of the memory service with a home of its own, as in a container. */
function launch(name: string): { health: () => string; printed: () => string } {
  const home = join(directory, name);
  const key = createKey("user");
  const actor = { name: "boot-launcher-memory", publicKey: key.publicKey };
  const jwt = world.authority.mintActor({ ...actor, permissions: rules(launcherPermissions("memory")) });
  const creds = `${home}.creds`;
  writeFileSync(creds, formatCreds({ name: actor.name, jwt, key }));
  const env = { ...process.env, NATS_URL: world.url, SOMA_LAUNCHER: creds, SOMA_HOME: home };
  const child = spawn(process.execPath, ["--import", "tsx", "kernel/launcher/join.ts"], { env, stdio: "ignore" });
  launchers.push(child);
  const text = (file: string) => (existsSync(join(home, file)) ? readFileSync(join(home, file), "utf8").trim() : "");
  return { health: () => text("run/health"), printed: () => text("log/memory-1.log") };
}
const heard = (text: string) => until(text, () => said.some((line) => line.startsWith(text)));
const start = (mode: string) =>
  hosts.start({ type: "start", id: "memory-1", entry: CHILD, args: [mode], env: { MARK: "1" } });

test.before(async () => {
  world = await startWorld();
  const bus = await world.connect("kernel");
  hosts = new Hosts(bus, loadManifest("deploy/containers.json"), () => performance.now());
  hosts.on("attached", (instance) => said.push(`attached ${instance}`));
  hosts.on("detached", (instance, why) => said.push(`detached ${instance} ${why}`));
  hosts.on("started", ({ id, pid }) => said.push(`started ${id} ${pid}`));
  hosts.on("exited", ({ id, signal, lines }) => said.push(`exited ${id} ${signal} ${lines.join("|")}`));
  await bus.flush();
  ticking = setInterval(() => hosts.tick(bus.connected, 0), 100);
});
test.before.each(() => {
  said.length = 0;
});
test.after(async () => {
  clearInterval(ticking);
  for (const child of launchers) child.kill("SIGKILL");
  await world.stop();
  rmSync(directory, { recursive: true, force: true });
});

test("a launcher joins over the broker, starts the child it is told to, reports its end, and knows its own home", async () => {
  const { health, printed } = launch("first");
  await heard("attached memory-1");
  start("wait");
  await heard("started memory-1");
  hosts.tell("memory-1", "ready");
  await until("the health check reads it", () => health() === "ready");
  await until("the child has printed", () => printed().includes("child wait"));
  hosts.kill("memory-1", "SIGKILL");
  await heard("exited memory-1 SIGKILL");
  // Its environment is what it was told and its container's; the credential of the launcher is not in it.
  const last = printed();
  assert.match(last, /MARK/);
  assert.match(last, /SOMA_HOME/);
  assert.not.match(last, /SOMA_LAUNCHER/);
});

test("a second one stands by, and takes over when the first one is stopped: its child ends with it", async () => {
  const second = launch("second");
  await until("it stands by", () => second.health() === "waiting");
  start("stubborn");
  await heard("started memory-1");
  const pid = Number(said.at(-1)!.split(" ")[2]);
  launchers[0]!.kill("SIGTERM");
  await heard("detached memory-1");
  await heard("attached memory-1");
  await until("the child is gone", () => !runs(pid));
  start("wait");
  await heard("started memory-1");
});

test("one that dies is missed, and its child does not outlive it", async () => {
  start("wait");
  await heard("started memory-1");
  const pid = Number(said.at(-1)!.split(" ")[2]);
  launchers[1]!.kill("SIGKILL");
  await heard("detached memory-1");
  assert.match(said.at(-1)!, /is silent/);
  await until("the child is gone", () => !runs(pid));
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
