// Owns backup, restore and reset of a whole system. All three need it stopped: files are copied as they lie.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { homeDirectory } from "../../sdk/context.ts";
import type { Command } from "../command.ts";

/** What is made anew at each start, or can be fetched again. */
const SKIP = ["run", "log", "cache", "snapshots"];

export const keepCommands: Command[] = [
  {
    name: "backup",
    args: "<file>",
    what: "write models, data, grants and keys to a .tar.gz",
    example: "soma backup monday.tar.gz",
    async run(_env, [file = ""]) {
      const home = stopped("backup");
      if (!existsSync(join(home, "format"))) throw new SomaError("ENOENT", `nothing to back up in ${home}`);
      tar(["-czf", resolve(file), ...SKIP.map((part) => `--exclude=./${part}`), "-C", home, "."]);
      return { json: { file: resolve(file) }, text: `${file} written; it holds secret keys: keep it safe` };
    },
  },
  {
    name: "restore",
    args: "<file>",
    what: "bring back what backup wrote",
    example: "soma restore monday.tar.gz",
    async run(_env, [file = ""]) {
      const home = stopped("restore");
      if (!existsSync(file)) throw new SomaError("ENOENT", `no file ${file}`);
      if (existsSync(home) && readdirSync(home).some((part) => !SKIP.includes(part))) {
        throw new SomaError("EEXIST", `${home} holds a system: "soma reset --yes" first, or set SOMA_HOME elsewhere`);
      }
      mkdirSync(home, { recursive: true, mode: 0o700 });
      tar(["-xzf", resolve(file), "-C", home]);
      return { json: { home }, text: `restored to ${home}: start it with "soma start"` };
    },
  },
  {
    name: "reset",
    what: "delete models, data, grants and keys of this system",
    example: "soma reset --yes",
    options: [["--yes", "really"]],
    async run(_env, _args, { yes }) {
      const home = stopped("reset");
      if (yes !== true) throw new SomaError("EINVAL", `this deletes all in ${home} but its cache: say --yes`);
      for (const part of existsSync(home) ? readdirSync(home) : []) {
        if (part !== "cache") rmSync(join(home, part), { recursive: true, force: true });
      }
      return { json: { home }, text: `${home} is empty` };
    },
  },
];

function tar(args: string[]): void {
  const { status, stderr, error } = spawnSync("tar", args, { encoding: "utf8" });
  if (error || status !== 0)
    throw new SomaError("EIO", `tar failed: ${error?.message ?? stderr.trim()}`, { cause: error });
}

/** The home of a system that does not run. */
function stopped(verb: string): string {
  const home = homeDirectory();
  const file = join(home, "run", "system.json");
  if (existsSync(file)) {
    const { pid } = JSON.parse(readFileSync(file, "utf8")) as { pid: number };
    if (alive(pid)) throw new SomaError("EBUSY", `the system runs (pid ${pid}): "soma stop" before ${verb}`);
  }
  return home;
}

export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
