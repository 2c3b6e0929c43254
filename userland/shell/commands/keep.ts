// Owns backup, restore and reset of a whole system. All three need it stopped: files are copied as they lie.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
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
      // Complete or not there: a backup that breaks off leaves the one before it alone.
      const part = `${resolve(file)}.part`;
      try {
        const skipped = [...SKIP, basename(part)].map((name) => `--exclude=./${name}`);
        tar(["-czf", part, ...skipped, "-C", home, "."]);
        renameSync(part, resolve(file));
      } catch (error) {
        rmSync(part, { force: true });
        throw error;
      }
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
      try {
        tar(["-xzf", resolve(file), "-C", home]);
      } catch (error) {
        // Half a system would be in the way of the next attempt.
        empty(home, SKIP);
        throw error;
      }
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
      if (existsSync(home)) empty(home, ["cache"]);
      return { json: { home }, text: `${home} is empty` };
    },
  },
];

/** What it writes is for this user alone: a backup holds keys. */
function tar(args: string[]): void {
  const umask = process.umask(0o077);
  const { status, stderr, error } = spawnSync("tar", args, { encoding: "utf8" });
  process.umask(umask);
  if (error || status !== 0) {
    const why = error?.message ?? stderr.trim().split("\n")[0];
    throw new SomaError("EIO", `tar failed: ${why}`, { cause: error ?? stderr });
  }
}

function empty(home: string, but: readonly string[]): void {
  for (const part of readdirSync(home)) {
    if (!but.includes(part)) rmSync(join(home, part), { recursive: true, force: true });
  }
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
