// The whole project as a person brings it up: real images, real containers, killed, stopped, scaled, taken away, and nothing left over.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERVICES } from "../../kernel/abi/names.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { parseCreds } from "../../kernel/ipc/jwt.ts";
import { ROOT } from "../../kernel/launcher/node.ts";
import { ResumableStream } from "../../userland/sdk/resume.ts";
import { freePort } from "../helpers/port.ts";
import { ps, type Row, services, until } from "../helpers/system.ts";
import { modelFolder } from "../services/model/running.ts";
import { openDocker } from "./docker.ts";

const PROJECT = `somatest${process.pid}`;
const docker = await openDocker();

if (typeof docker === "string") {
  console.log(`SKIPPED bringing docker-compose.yml up: ${docker}`);
  test("where Docker cannot be had, one line says why", () => assert.match(docker, /^[^\n]{10,}$/));
} else {
  const scratch = mkdtempSync(join(tmpdir(), "soma-compose-"));
  const port = await freePort();
  const env = { ...docker.env, COMPOSE_PROJECT_NAME: PROJECT, SOMA_PORT: String(port), NO_COLOR: "1" };
  const url = `nats://127.0.0.1:${port}`;
  const file = join(scratch, "person.creds");
  let client: Client;
  let bus: NatsBus;
  const laps: string[] = [];
  let since = performance.now();
  const lap = (what: string) => {
    laps.push(`${what} ${((performance.now() - since) / 1_000).toFixed(1)} s`);
    since = performance.now();
  };

  function run(program: string, args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<string> {
    const child = spawn(program, args, { cwd: ROOT, env: { ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] });
    let [out, all] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      all += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (all += text));
    return new Promise((resolve, reject) => {
      child.on("close", (code) =>
        code === 0 ? resolve(out) : reject(new Error(`${program} ${args.join(" ")}: ${code}\n${all.slice(-3_000)}`)),
      );
    });
  }
  const compose = (...args: string[]) => run(docker.compose[0]!, [...docker.compose.slice(1), ...args]);
  const soma = (...args: string[]) => compose("exec", "-T", "shell", "soma", ...args);
  const ids = async (part: string) => (await compose("ps", "-q", part)).trim().split("\n").filter(Boolean);
  const inspect = async (what: string, id: string) => (await run("docker", ["inspect", "-f", what, id])).trim();
  const row = async (id: string) => (await ps(client)).find((candidate) => candidate.id === id);
  const ready = (id: string, holds: (row: Row) => boolean = () => true) =>
    until(`${id} is ready`, async () => {
      const one = await row(id);
      return one?.state === "ready" && holds(one);
    });

  /** Pid, as this host sees it, of the service's own process in a container. */
  async function processOf(container: string, service: string): Promise<number> {
    const { stdout } = spawnSync("docker", ["top", container, "-eo", "pid,args"], { env, encoding: "utf8" });
    const lines = stdout.split("\n").filter((line) => line.includes(service) && !/join\.ts|docker-init/.test(line));
    const pid = Number(/^\s*(\d+)/.exec(lines.at(-1) ?? "")?.[1]);
    assert.ok(pid > 0, stdout);
    return pid;
  }

  const fox = { model: "fox", prompt: "the quick", sample: { temperature: 1, seed: 7 } };
  const text = (maxTokens: number) => new ResumableStream(client, "model.generate", { ...fox, maxTokens }).text();

  test("build and up: every part becomes healthy, and the built-in model is trained", async () => {
    await compose("build");
    lap("build");
    await compose("up", "-d");
    lap("up");
    const end = performance.now() + 400_000;
    for (;;) {
      const parts = (
        await Promise.all(["nats", "kernel", "auth", "memory", "device", "scheduler", "model", "shell"].map(ids))
      ).flat();
      const states = await Promise.all(parts.map((id) => inspect("{{.State.Health.Status}}", id)));
      if (parts.length === 8 && states.every((state) => state === "healthy")) break;
      if (performance.now() > end)
        throw new Error(`not healthy: ${states}\n${await compose("logs", "--tail=20", "--no-color")}`);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
    lap("all healthy, trained");
  });

  test("a request in the shell's container and one from the host work as on one machine", async () => {
    assert.is(await soma("run", "translate", "Hello World"), "你好，世界\n");
    writeFileSync(file, await compose("exec", "-T", "shell", "cat", "/soma/person/person.creds"), { mode: 0o600 });
    const { name, jwt, key } = parseCreds(await run("cat", [file]));
    bus = await NatsBus.connect({ url, name, jwt: () => jwt, seed: key.seed });
    client = new Client(bus);
    for (const service of SERVICES) await ready(`${service}-1`);
    const shown = await run(process.execPath, [join(ROOT, "userland/shell/soma.mjs"), "ps"], {
      NATS_URL: url,
      SOMA_CREDS_FILE: file,
    });
    for (const service of SERVICES) assert.match(shown, new RegExp(`${service}-1 .*ready`));
    lap("two requests");
  });

  test("a container's killed service comes back, and so does one that hangs; Docker restarts neither", async () => {
    const [memory, scheduler] = [(await ids("memory"))[0]!, (await ids("scheduler"))[0]!];
    const before = [(await row("memory-1"))!.epoch, (await row("scheduler-1"))!.epoch];
    process.kill(await processOf(memory, "memory"), "SIGKILL");
    await ready("memory-1", ({ epoch }) => epoch > before[0]!);
    lap("killed service back");
    process.kill(await processOf(scheduler, "scheduler"), "SIGSTOP");
    await ready("scheduler-1", ({ epoch }) => epoch > before[1]!);
    lap("hung service back");
    for (const id of [memory, scheduler]) assert.is(await inspect("{{.RestartCount}}", id), "0");
    assert.is(await soma("run", "translate", "Hello World"), "你好，世界\n");
  });

  test("devices that are added take work; two that are taken away under streams lose nothing of them", async () => {
    const folder = modelFolder({ context: 1024 });
    const copied = await run("sh", [
      "-c",
      `tar c -C ${folder} . | ${docker.compose.join(" ")} exec -T model sh -c 'mkdir /soma/home/fox && tar x -C /soma/home/fox'`,
    ]);
    assert.is(copied, "");
    await client.call("model.importDir", { dir: "/soma/home/fox", name: "fox" });
    const whole = await text(900);
    assert.ok(whole.length > 300, whole);
    await compose("up", "-d", "--no-recreate", "--scale", "device=3");
    for (const id of ["device-1", "device-2", "device-3"]) await ready(id);
    lap("scaled to 3 devices");

    const streams = Array.from({ length: 12 }, () => text(900));
    const used = new Set<string>();
    await until("all three devices compute", async () => {
      for (const { device } of (await client.call("scheduler.queue", {})).sequences) if (device) used.add(device);
      return used.size === 3;
    });
    lap("work on all three");
    // One is asked to go, one is not.
    const containers = await ids("device");
    await run("docker", ["kill", "-s", "KILL", containers[0]!]);
    await run("docker", ["stop", "-t", "10", containers[1]!]);
    assert.equal([...new Set(await Promise.all(streams))], [whole]);
    lap("12 streams whole");
  });

  test("the kernel's container may die: services go on as they are, and the next kernel adopts them", async () => {
    const before = services(await ps(client)).filter(([id]) => id !== "kernel");
    process.kill(Number(await inspect("{{.State.Pid}}", (await ids("kernel"))[0]!)), "SIGKILL");
    assert.ok((await text(50)).length > 0);
    await until("a kernel answers again", async () => (await ps(client)).length > 0);
    for (const [id] of before) if (!String(id).startsWith("device")) await ready(String(id));
    const after = services(await ps(client));
    const of = (rows: typeof after, wanted: string) => rows.find(([id]) => id === wanted);
    for (const id of ["auth-1", "memory-1", "scheduler-1", "model-1"]) assert.equal(of(after, id), of(before, id), id);
    lap("kernel's container killed");
  });

  test("down takes everything away: no container, network or volume is left", async () => {
    await bus.close();
    await compose("down", "-v", "-t", "10");
    const filter = ["--filter", `label=com.docker.compose.project=${PROJECT}`];
    const left = await Promise.all([
      run("docker", ["ps", "-aq", ...filter]),
      run("docker", ["network", "ls", "-q", ...filter]),
      run("docker", ["volume", "ls", "-q", ...filter]),
    ]);
    assert.equal(left, ["", "", ""]);
    lap("down");
  });

  test.after(async () => {
    await compose("down", "-v", "-t", "2").catch(() => undefined);
    await docker.end();
    rmSync(scratch, { recursive: true, force: true });
    console.log(`${docker.compose.join(" ")}, stand-ins: ${docker.standins.join(" ") || "none"}; ${laps.join(", ")}`);
  });
}

test.run();
