// What a newcomer finds out with the shell alone, on a whole system that works: who uses the device, why a call waits, what killed a
// service, how a loss curve looks, where the time of a call went; and how each command's output looks meanwhile.
import { spawnSync } from "node:child_process";
import { setMaxListeners } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { parseCreds } from "../../kernel/ipc/jwt.ts";
import { credentials } from "../../userland/sdk/context.ts";
import { connectSoma, type Soma } from "../../userland/sdk/soma.ts";
import { complete } from "../../userland/shell/completion.ts";
import { columns } from "../../userland/shell/render/table.ts";
import { openShell } from "../helpers/shell.ts";
import { System, until } from "../helpers/system.ts";
import { terminal } from "../helpers/terminal.ts";
import { config, hyper, lines } from "../services/model/lines.ts";
import { modelFolder } from "../services/model/running.ts";

const SERVICES = ["auth-1", "memory-1", "device-1", "scheduler-1", "model-1"];
/** Of each app. Together more than run at a time, and more full contexts than a device keeps room for. */
const CALLS = { greedy: 60, modest: 30 };
const CONTEXT = 2_048;
let system: System;
let soma: ReturnType<typeof openShell>;
let dir: string;
let job: string;
const apps: Soma[] = [];

test.before(async () => {
  system = new System();
  dir = mkdtempSync(join(tmpdir(), "soma-newcomer-"));
  await system.up(SERVICES);
  soma = openShell(system.home);
  await soma.text("model", "import", modelFolder({ context: CONTEXT }), "loop");
  await soma.text("model", "deploy", "loop");
  writeFileSync(join(dir, "pairs.jsonl"), `${lines.join("\n")}\n`);
});
test.after(async () => {
  for (const app of apps) await app.close();
  await soma.close();
  await system.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** An app under a grant of its own, as `soma app grant` gives it out. */
async function granted(name: string, ...limits: string[]): Promise<Soma> {
  const creds = parseCreds(
    await soma.text("app", "grant", name, "--call", "model.generate", "--concurrency", "64", ...limits),
  );
  const { url } = JSON.parse(readFileSync(join(system.home, "run", "system.json"), "utf8"));
  const app = await connectSoma({ url, name: creds.name, jwt: creds.jwt, seed: creds.key.seed });
  apps.push(app);
  return app;
}

/** Goes on for as long as its context has room, again and again until it is canceled. */
async function endless(app: Soma, seed: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const prompt = "the quick brown fox ".repeat(1 + (seed % 3));
    const stream = app.model.generate(
      { model: "loop", prompt, maxTokens: CONTEXT - 200, sample: { seed } },
      { signal },
    );
    try {
      for await (const _ of stream);
    } catch (error) {
      if (signal.aborted) return;
      if (!isSomaError(error, "EBUSY")) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs));
    }
  }
}

/** Lines of at most 80 columns. */
function fits(text: string): string {
  for (const line of text.split("\n")) assert.ok(columns(line) <= 80, `${columns(line)} columns: ${line}`);
  return text;
}

test("which app uses most of the device: soma top", async () => {
  const [greedy, modest] = [await granted("greedy", "--weight", "4"), await granted("modest")];
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const running = [
    ...Array.from({ length: CALLS.greedy }, (_, i) => endless(greedy, i, stop.signal)),
    ...Array.from({ length: CALLS.modest }, (_, i) => endless(modest, i, stop.signal)),
  ];
  try {
    await until("both have computed something", async () => (await soma.json("top")).apps.length === 2);
    const text = fits(await soma.text("top"));
    const rows = text.split("\n").filter((line) => /^(greedy|modest)/.test(line));
    assert.match(rows[0]!, /^greedy +[1-9]\d* +\d+%/, text);
    const frame = await soma.json("top");
    const [first] = frame.apps;
    assert.is(first.app, "greedy");
    assert.ok(first.share > 0.6 && first.tokensPerSecond > 1, JSON.stringify(first));
    assert.ok(first.running > 0 && first.running + first.waiting <= CALLS.greedy, JSON.stringify(first));
    assert.ok(first.kvBlocks > 0 && first.kvBlocks <= frame.devices[0].blocks, JSON.stringify(frame));
    assert.ok(frame.devices[0].load > 0.05 && frame.devices[0].usedBytes > 0, JSON.stringify(frame.devices));

    // Why a call waits: the same moment, the same system.
    let waiting: { id: string; why: string } | undefined;
    await until("a call waits", async () => {
      const { sequences } = await soma.json("sched");
      waiting = sequences.find(({ state }: { state: string }) => state === "waiting");
      return waiting !== undefined;
    });
    fits(await soma.text("sched"));
    assert.match(waiting!.why, /^waits behind \d+ sequences \(.*\) under fair; (greedy|modest) has used/);
    // That one may be over by now; the next will wait as well.
    await until("why says so", async () => {
      const { sequences } = await soma.json("sched");
      const { id } = sequences.find(({ state }: { state: string }) => state === "waiting");
      const { code, out } = await soma.run(["why", id]);
      return code === 0 && /^waits behind \d+ sequences/.test(fits(out));
    });
  } finally {
    stop.abort();
    await Promise.all(running);
  }
});

test("what killed the model service last: soma services, soma events", async () => {
  await soma.text("kill", "model-1", "--signal", "SIGKILL");
  await until("the model is back", async () => {
    const rows = await soma.json("services");
    return rows.some((one: any) => one.id === "model-1" && one.state === "ready" && one.last !== undefined);
  });
  const text = fits(await soma.text("services"));
  assert.match(text, /^model-1 +ready +2 .* \d\d:\d\d:\d\d +killed by SIGKILL$/m);
  assert.not.match(text.replace(/^model-1.*$/m, ""), "killed");
  assert.match(
    fits(await soma.text("events", "model", "--deaths")),
    /^[\d:]+ model-1 +crashed, epoch 1: killed by SIGKILL\n$/,
  );
  // And who did it.
  assert.match(await soma.text("audit", "--call", "kernel.kill"), /kernel\.kill +person/);
});

test("how a loss curve looks: soma job show", async () => {
  const choices = ["--name", "mine", "--hyper", JSON.stringify(hyper), "--config", JSON.stringify(config)];
  fits(await soma.text("train", join(dir, "pairs.jsonl"), ...choices));
  [{ id: job }] = await soma.json("job", "ls");
  assert.match(fits(await soma.text("job", "ls")), new RegExp(`^${job} +train +mine@1 +person +done +100/100`, "m"));
  const text = fits(await soma.text("job", "show", job));
  assert.match(text, /^ +\d+\.\d\d ┼╮/m, "it begins high");
  const [, first, last] = /^loss (\S+) at step \d+, (\S+) at step 100$/m.exec(text)!;
  assert.ok(Number(first) > Number(last), `${first} to ${last}`);
  const { curve } = await soma.json("job", "show", job);
  assert.is(curve.at(-1).step, 100);
  // One that is over is watched to its end at once; one that is over cannot be canceled into something else.
  assert.match(fits(await soma.text("job", "watch", job)), `mine@1: done after`);
  assert.match(await soma.text("job", "cancel", job), `${job}: done`);
});

test("where the time of one call went: soma trace last", async () => {
  await soma.text("generate", "the quick brown fox", "--model", "loop", "--max", "40");
  let text = "";
  await until("the trace has arrived", async () => {
    const { code, out } = await soma.run(["trace", "last"]);
    text = out;
    return code === 0 && /decode/.test(out) && /^model\.generate for person/.test(out);
  });
  fits(text);
  assert.match(text, /^ +prefill +device-1 +.*█/m);
  assert.match(text, /(decode|loading|prefill) \d+\.\d ms \(\d+ %\)/);
  const { ms, spans } = await soma.json("trace", "last");
  const parts = Object.values(ms as Record<string, number>).reduce((sum, one) => sum + one, 0);
  const whole = spans.find(({ name }: { name: string }) => name === "model.generate").ms;
  assert.ok(Math.abs(parts - whole) < 0.01 * whole, `the parts, ${parts} ms, are the whole, ${whole} ms`);
});

test("what apps remember: soma mem", async () => {
  const person = await system.person();
  await person.call("memory.put", { key: "chat.last", value: { say: "今天天气很好" } });
  await person.call("memory.index", {
    collection: "notes",
    rows: [
      { id: "a", text: "the weather is fine today" },
      { id: "b", text: "明天阳光明媚" },
    ],
  });
  assert.match(fits(await soma.text("mem", "ls")), /^person +1 +2 /m);
  assert.match(fits(await soma.text("mem", "ls", "--of", "person")), /^key +chat\.last\ncollection +notes +2 /m);
  assert.equal(JSON.parse(await soma.text("mem", "get", "chat.last")), { say: "今天天气很好" });
  assert.match(fits(await soma.text("mem", "search", "weather", "--in", "notes")), /^\d\.\d{3} +a +the weather/m);
  assert.is((await soma.json("mem", "search", "weather", "--in", "notes"))[0].id, "a");
  assert.match((await soma.run(["mem", "get", "nothing"])).err, /^soma: ENOENT: /);
});

test("every list of a system that works fits 80 columns, has no colour in a pipe and is JSON when asked", async () => {
  const lists = [
    "ps",
    "services",
    "top",
    "sched",
    "df",
    "free",
    "info",
    "device ls",
    "model ls",
    "job ls",
    "app ls",
    "mem ls",
    "key ls",
  ];
  for (const command of [
    ...lists,
    "stat scheduler",
    "model show mine",
    `job show ${job}`,
    "inspect scheduler",
    "doctor",
  ]) {
    const { out, err } = await soma.run(command.split(" "));
    assert.is(err, "", command);
    assert.is(stripVTControlCharacters(out), out, command);
    fits(out);
    JSON.parse((await soma.run([...command.split(" "), "--json"])).out);
  }
});

/** The samples of one metric, by labels. */
async function samples(address: string, metric: string): Promise<Map<string, number>> {
  const text = await (await fetch(address)).text();
  const rows = text.matchAll(new RegExp(`^${metric}\\{(.*)\\} (\\S+)$`, "gm"));
  return new Map(Array.from(rows, ([, labels, value]) => [labels!, Number(value)]));
}

test("soma metrics --serve answers a Prometheus server until Ctrl-C; a counter begins anew with its service", async () => {
  const stop = new AbortController();
  const serving = soma.start(["metrics", "--serve", "0"], stop.signal);
  try {
    await until("it says where", () => /^http:/.test(serving.out));
    const address = serving.out.trim();
    const of =
      (labels: string) =>
      ([key]: [string, number]) =>
        key.includes(labels);
    const tokens = async () =>
      [...(await samples(address, "soma_computed_tokens_total"))].find(of('principal="greedy"'));
    const [, before] = (await tokens())!;
    assert.ok(before > 1_000, `${before}`);
    assert.ok([...(await samples(address, "soma_syscalls_total"))].some(of('caller="person"')));
    assert.is((await fetch(new URL("/other", address))).status, 404);

    await soma.text("kill", "scheduler-1", "--signal", "SIGKILL");
    await until("the scheduler is back", async () =>
      [...(await samples(address, "soma_epoch"))].some(([key, epoch]) => key.includes("scheduler-1") && epoch === 2),
    );
    await until("its accounts are back, its counter is new", async () => (await tokens())?.[1] === 0);
    // The accounts themselves went on: shares of all time.
    const { shares } = await (await system.person()).call("scheduler.policy", {});
    assert.ok(shares.find(({ principal }) => principal === "greedy")!.tokens > 0.5 * before);
  } finally {
    stop.abort();
  }
  assert.is(await serving.code, 0);
  assert.is(await fetch(serving.out.trim()).catch(() => "closed"), "closed");
});

/** `soma ARGS` in a process of its own, in a pipe or on a terminal. */
function printed(program: string[], env: Record<string, string>): string {
  const { NO_COLOR: _, FORCE_COLOR: __, CI: ___, NATS_URL: ____, ...rest } = process.env;
  const own = { ...rest, TERM: "xterm", SHELL: "/bin/sh", SOMA_HOME: system.home, ...env };
  const { status, stdout } = spawnSync(program[0]!, program.slice(1), { env: own, encoding: "utf8", stdio: "pipe" });
  assert.is(status, 0, stdout);
  return stdout;
}

const SOMA = fileURLToPath(new URL("../../userland/shell/soma.mjs", import.meta.url));
const TERMINAL = terminal([process.execPath, SOMA, "ps"]);
if (TERMINAL === undefined) console.log("SKIPPED: colours on a terminal: none to be had here");
else
  test("a terminal sees colour, with NO_COLOR it sees none, and a pipe never", () => {
    const coloured = (text: string) => stripVTControlCharacters(text) !== text;
    assert.ok(coloured(printed(TERMINAL, {})), "a terminal");
    assert.not.ok(coloured(printed(TERMINAL, { NO_COLOR: "1" })), "NO_COLOR");
    const piped = printed([process.execPath, SOMA, "ps"], {});
    assert.not.ok(coloured(piped), "a pipe");
    assert.match(fits(piped), /^model-1 +service/m);
  });

test("the prompt completes names that exist now", async () => {
  const person = await connectSoma(credentials());
  apps.push(person);
  const cases = [
    ["job show j", job],
    ["model show mi", "mine"],
    ["kill mod", "model-1"],
    ["inspect sched", "scheduler-1"],
    ["sched drain dev", "device-1"],
    ["sched set fa", "fair"],
    ["mem get chat", "chat.last"],
    ["mem g", "get"],
    ["trace la", "last"],
    ["why no-such", undefined],
    // A second argument is no model.
    ["model export mine mi", undefined],
  ] as const;
  for (const [line, expected] of cases) {
    const [found] = await complete(line, { soma: async () => person });
    assert.equal(found, expected === undefined ? [] : [`${expected} `], line);
  }
});

test.run();
