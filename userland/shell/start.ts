// Owns `soma start`: the launcher as a child, services shown as they come up, the first training, the two cases, the prompt.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import pc from "picocolors";
import { SomaError } from "../../kernel/abi/errors.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import { homeDirectory } from "../sdk/context.ts";
import type { Soma } from "../sdk/soma.ts";
import { type Command, type Env, explain } from "./command.ts";
import { GATEWAY, runApp } from "./commands/app.ts";
import { followJob } from "./commands/job.ts";
import { alive } from "./commands/keep.ts";
import { Session } from "./program.ts";
import { table } from "./render/table.ts";
import { duration } from "./render/units.ts";
import { startRepl } from "./repl.ts";

const LAUNCHER = fileURLToPath(new URL("../../kernel/launcher/main.ts", import.meta.url));
const TSX = import.meta.resolve("tsx");
const START_MS = 60_000;

/** What the built-in model must be able to say. The answers stand in its training data and nowhere else in the system. */
const CASES = [
  { app: "generate", text: "今天天气很好", expected: "明天阳光明媚" },
  { app: "translate", text: "Hello World", expected: "你好，世界" },
] as const;

export const startCommand: Command = {
  name: "start",
  what: "start the system on this machine",
  example: "soma start --demo",
  options: [
    ["--demo", "run the two cases, then stop"],
    ["--bare", "train and run nothing"],
    ["--gateway", 'serve OpenAI clients as well, as "soma gateway" does'],
  ],
  run: (env, _args, { demo, bare, gateway }) =>
    start(env, { demo: demo === true, bare: bare === true, gateway: gateway === true }),
};

export const prepareCommand: Command = {
  name: "prepare",
  what: "wait for a system that others start, and train the built-in model unless one is deployed",
  example: "soma prepare --stay",
  options: [["--stay", "then stay until ended, as a container does"]],
  run: (env, _args, { stay }) => prepare(env, stay === true),
};

/** Containers come up in any order: what is not there yet is waited for. */
async function prepare(env: Env, stay: boolean): Promise<number> {
  const say = (text: string) => env.out(`${text}\n`);
  const session = new Session();
  // A shell is a container's first process as well: those have no default handler.
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
  const soma = await ready(session, say, () => true);
  await firstTraining(env, soma, say);
  say("ready");
  mkdirSync(join(homeDirectory(), "run"), { recursive: true });
  writeFileSync(join(homeDirectory(), "run", "health"), "ready\n");
  if (stay) await new Promise(() => setInterval(() => undefined, 60_000));
  await session.close();
  return 0;
}

type Wanted = Record<"demo" | "bare" | "gateway", boolean>;

async function start(env: Env, { demo, bare, gateway }: Wanted): Promise<number> {
  const say = (text: string) => env.out(`${text}\n`);
  const session = new Session();
  const launcher = await launch(say);
  const ended = new Promise<number>((resolve) => launcher.once("exit", (code) => resolve(code ?? 1)));
  // Ctrl-C reaches the launcher, which stops everything in order; this process only waits for it.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => launcher.kill("SIGTERM"));
  try {
    const soma = await Promise.race([
      ready(session, say, () => systemFile()?.pid === launcher.pid),
      ended.then((code) => {
        throw stoppedEarly(code);
      }),
    ]);
    if (!bare) {
      await Promise.race([
        firstTraining(env, soma, say),
        ended.then((code) => {
          throw stoppedEarly(code);
        }),
      ]);
      const right = await cases(env, soma, say);
      if (demo) {
        await soma.kernel.shutdown({});
        await session.close();
        await ended;
        return right ? 0 : 1;
      }
    }
    // It ends with the system, which ends all apps.
    if (gateway)
      void runApp(env, soma, GATEWAY, [], (_fd, data) => env.out(data)).catch((error: unknown) =>
        say(explain(error).line),
      );
    if (process.stdin.isTTY && process.stdout.isTTY) {
      say(`\nType ${pc.bold("help")} for commands, Ctrl-D to stop the system.`);
      await Promise.race([startRepl(session), ended]);
      launcher.kill("SIGTERM");
    } else {
      say(`\nRunning. In another terminal: npx soma ps, npx soma run generate "今天天气很好", npx soma stop`);
    }
    const code = await ended;
    await session.close();
    return code;
  } catch (error) {
    launcher.kill("SIGTERM");
    await ended;
    throw error;
  }
}

async function launch(say: (text: string) => void): Promise<ChildProcess> {
  const running = systemFile();
  if (running && alive(running.pid)) {
    throw new SomaError(
      "EBUSY",
      `the system runs already (pid ${running.pid}): use it with "soma ps", end it with "soma stop"`,
    );
  }
  const launcher = spawn(process.execPath, ["--import", TSX, LAUNCHER], { stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [launcher.stdout!, launcher.stderr!]) {
    createInterface({ input: stream }).on("line", (line) => {
      const shown = launcherLine(line);
      if (shown !== undefined) say(pc.dim(shown));
    });
  }
  return launcher;
}

/** What of the launcher's output a person wants to see here: its own words, and of the kernel's log only what went wrong. */
export function launcherLine(line: string): string | undefined {
  if (!line.startsWith('{"level"')) return line.trim() === "" ? undefined : line;
  const { level, message, reason } = JSON.parse(line) as { level?: string; message?: string; reason?: string };
  if (level === "info" || level === "debug") return undefined;
  return `${level}: ${message}${reason ? `, ${reason}` : ""} (more: soma log kernel)`;
}

function systemFile(): { url: string; pid: number } | undefined {
  const file = join(homeDirectory(), "run", "system.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { url: string; pid: number }) : undefined;
}

/** Waits until all services are ready; shows each as it comes. `serves`: whether the system may be asked already. */
async function ready(session: Session, say: (text: string) => void, serves: () => boolean): Promise<Soma> {
  const began = performance.now();
  const shown = new Set<string>();
  for (;;) {
    if (performance.now() - began > START_MS)
      throw new SomaError(
        "ETIME",
        `not all services came up within ${START_MS / 1000} s: see ${join(homeDirectory(), "log")}`,
      );
    if (serves()) {
      const soma = await session.soma().catch(() => undefined);
      const ps = await soma?.kernel.ps({}, { ttl: 1_000, retry: false }).catch(() => undefined);
      for (const { id, kind, state, note } of ps?.processes ?? []) {
        if (kind !== "service" || state !== "ready" || shown.has(id)) continue;
        shown.add(id);
        say(
          `${pc.green("✓")} ${id.padEnd(12)} ready ${pc.dim(`${duration(performance.now() - began)}${note ? `  ${note}` : ""}`)}`,
        );
      }
      if (soma && SERVICES.every((service) => [...shown].some((id) => id.startsWith(`${service}-`)))) return soma;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Trains, evaluates, registers and deploys the built-in model unless an alias "default" is there. */
async function firstTraining(env: Env, soma: Soma, say: (text: string) => void): Promise<void> {
  const { models } = await soma.model.list({});
  if (models.some(({ aliases }) => aliases.includes("default"))) return;
  say("\nFirst start: training the built-in model on its own corpus (three minutes at most)");
  const { job } = await soma.model.train({ name: "tiny", data: "builtin", deploy: "default" }, { key: "builtin" });
  const { text } = await followJob({ ...env, soma: async () => soma }, job);
  say(`${pc.green("✓")} ${text}`);
  const { record } = await soma.model.show({ model: "default" });
  if (record.note) say(pc.dim(`\n${String(record.note)}`));
  const figures = Object.entries((record.eval ?? {}) as Record<string, Figures>);
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const rows = figures.map(([split, f]) => [
    SPLITS[split] ?? split,
    f.cases,
    percent(f.exactMatch),
    f.chrf.toFixed(1),
    f.loss.toFixed(3),
  ]);
  say(`\n${table(["MEASURED ON", ">CASES", ">EXACT", ">CHRF", ">LOSS"], rows)}`);
}

type Figures = { cases: number; exactMatch: number; chrf: number; loss: number };
const SPLITS: Record<string, string> = {
  test: "test: never trained on",
  handwritten: "hand-written: meant to be memorised",
};

/** Runs both cases as apps; false if one answer is not what the model was to learn. */
async function cases(env: Env, soma: Soma, say: (text: string) => void): Promise<boolean> {
  const { name, version, loss } = await soma.model.show({ model: "default" });
  let right = true;
  for (const { app, text, expected } of CASES) {
    let answer = "";
    await runApp(env, soma, app, [text], (_fd, data) => {
      answer += data;
    });
    const good = answer.trim() === expected;
    right &&= good;
    say(
      `\n${pc.dim(`$ soma run ${app} "${text}"`)}\n${answer.trim()}${good ? "" : pc.red(`   expected ${expected}; ${name}@${version} has loss ${loss ?? "?"}`)}`,
    );
  }
  return right;
}

function stoppedEarly(code: number): SomaError {
  return new SomaError("EIO", `the system stopped (exit ${code}): see ${join(homeDirectory(), "log")}`);
}
