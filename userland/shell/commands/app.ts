// Owns the commands about apps: run, make, try again on each change.
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, watch, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { checkAppName } from "../../../kernel/abi/names.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command, Env } from "../command.ts";
import { asks } from "./grant.ts";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
/** Apps that ship with Soma, too, though they lie beside the shell. */
export const GATEWAY = join(REPOSITORY, "userland", "gateway");
export const CONSOLE = join(REPOSITORY, "userland", "console");
const SHIPPED = new Set([...readdirSync(join(REPOSITORY, "apps")), basename(GATEWAY), basename(CONSOLE)]);

export const appCommands: Command[] = [
  {
    name: "run",
    args: "<app> [args...]",
    passThrough: true,
    what: "run an app under its own identity",
    example: 'soma run translate "Hello World"',
    async run(env, [app = "", ...args]) {
      const { code } = await runApp(env, await env.soma(), appPath(app), args, (_fd, data) => env.out(data));
      return code;
    },
  },
  {
    name: "create",
    args: "<name>",
    what: "make a new app from a template",
    example: "soma create hello",
    async run(_env, [name = ""]) {
      const dir = createApp(checkAppName(name), process.cwd());
      const shown = relative(process.cwd(), dir) || ".";
      return {
        json: { dir },
        text: `${shown}/app.json  what it needs\n${shown}/main.ts   what it does\n\nNext: soma dev ${shown}`,
      };
    },
  },
  {
    name: "dev",
    args: "<app> [args...]",
    passThrough: true,
    what: "run an app again on each change",
    example: "soma dev ./hello",
    async run(env, [app = "", ...args]) {
      const soma = await env.soma();
      const dir = appPath(app);
      const folder = existsSync(join(dir, "app.json")) ? dir : join(REPOSITORY, "apps", app);
      let changed: () => void = () => {};
      const watcher = watch(folder, { recursive: true }, () => changed());
      env.signal.addEventListener("abort", () => changed(), { once: true });
      while (!env.signal.aborted) {
        const next = new Promise<void>((wake) => {
          changed = wake;
        });
        const { code } = await runApp(env, soma, dir, args, (_fd, data) => env.out(data));
        env.out(`-- exit ${code}; waiting for a change (Ctrl-C ends)\n`);
        await next;
        // Editors write in several steps.
        await new Promise((wake) => setTimeout(wake, 100));
      }
      watcher.close();
      return undefined;
    },
  },
];

/** Runs an app through the kernel; its output comes to `write`. Resolves with its exit code. */
export async function runApp(
  env: Pick<Env, "signal">,
  soma: Soma,
  app: string,
  args: string[],
  write: (fd: 1 | 2, data: string) => void,
): Promise<{ code: number }> {
  await ensureInstalled(soma, app);
  const stream = soma.kernel.spawn(
    { app, args, columns: process.stdout.columns ?? 80, color: process.stdout.isTTY === true },
    { signal: env.signal },
  );
  const decoders = { 1: new TextDecoder(), 2: new TextDecoder() };
  for await (const { fd, data } of stream) write(fd, decoders[fd].decode(data, { stream: true }));
  const { code, signal } = await stream.result;
  return { code: code ?? (signal === "SIGINT" ? 130 : 1) };
}

async function ensureInstalled(soma: Soma, app: string): Promise<void> {
  const { name, approved, needs, models } = await installApp(soma, app);
  if (approved) return;
  throw new SomaError("EPERM", `${asks(name, needs, models)}\nAllow it with "soma app approve ${name}"`);
}

/** Records what its manifest asks for. Apps that ship with Soma are approved; others ask first. */
export async function installApp(
  soma: Soma,
  app: string,
): Promise<{ name: string; needs: string[]; models?: string[]; approved: boolean }> {
  const named = existsSync(join(REPOSITORY, "apps", app, "app.json"));
  const shipped = named || app === GATEWAY || app === CONSOLE;
  const folder = named ? join(REPOSITORY, "apps", app) : app;
  const path = join(folder, "app.json");
  if (!existsSync(path))
    throw new SomaError("ENOENT", `no app "${app}": see the folder apps/, or make one with "soma create ${app}"`);
  const manifest = JSON.parse(readFileSync(path, "utf8")) as { name: string; needs: string[]; models?: string[] };
  const { name, needs, models } = manifest;
  // Approval goes by name: what was given to an app of ours is not for another folder.
  if (!shipped && SHIPPED.has(name))
    throw new SomaError("EEXIST", `"${name}" is an app of Soma's own: give the one in ${folder} another name`);
  const limited = models ? { models } : {};
  const { approved } = await soma.auth.install({ app: name, needs, approve: shipped, ...limited });
  return { name, needs, ...limited, approved };
}

/** A name of apps/, or the absolute path of a folder. */
export function appPath(app: string): string {
  return app.includes("/") || existsSync(join(process.cwd(), app, "app.json")) ? resolve(app) : app;
}

const MAIN = `// What it does: edit me, then "soma dev" runs me again.
import { defineApp } from "soma-os/sdk";
import manifest from "./app.json" with { type: "json" };

defineApp({
  ...manifest,
  async main({ soma, args, print }) {
    const stream = soma.model.generate({ prompt: args.join(" ") || "今天天气很好", task: "continue" });
    for await (const { text } of stream) print(text);
    print("\\n");
  },
});
`;

function createApp(name: string, parent: string): string {
  const dir = join(parent, name);
  if (existsSync(dir)) throw new SomaError("EEXIST", `${name} exists already: choose another name`);
  mkdirSync(join(dir, "node_modules"), { recursive: true });
  const write = (file: string, text: string) => writeFileSync(join(dir, file), text);
  write(
    "app.json",
    `${JSON.stringify({ name, what: "says something", usage: `soma run ./${name} [text]`, needs: ["model.generate"] }, null, 2)}\n`,
  );
  write("main.ts", MAIN);
  write("package.json", `${JSON.stringify({ name, private: true, type: "module" }, null, 2)}\n`);
  symlinkSync(REPOSITORY, join(dir, "node_modules", "soma-os"), "dir");
  return dir;
}
