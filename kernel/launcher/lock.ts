// Owns locks that survive kill -9 because they can be checked: who holds one is a pid with its start time.
import { spawnSync } from "node:child_process";
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A process, told apart from a later one with the same pid. */
export interface Holder {
  pid: number;
  /** Opaque: ticks since this boot and the boot's id on Linux, `ps` elsewhere. */
  started: string;
}

/** When the process started, or undefined when there is none or it is a zombie. */
export function startOf(pid: number): string | undefined {
  if (process.platform !== "linux") {
    const started = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).stdout?.trim();
    return started || undefined;
  }
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
  // The name in brackets may hold spaces and brackets: count from its end. Field 3 is the state, 22 the start.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  return `${fields[19]}@${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}`;
}

export function holderOf(pid: number): Holder {
  const started = startOf(pid);
  if (started === undefined) throw new Error(`process ${pid} is gone`);
  return { pid, started };
}

export const isAlive = ({ pid, started }: Holder): boolean => startOf(pid) === started;

/** Somebody alive holds the lock. */
export class LockHeld extends Error {
  override name = "LockHeld";
  constructor(
    readonly directory: string,
    readonly holder: Holder,
  ) {
    super(`${directory} is held by process ${holder.pid}`);
  }
}

export interface Lock {
  /** Another process that keeps the lock alive with us, as a server does that we started. */
  share(pid: number): void;
  release(): void;
}

/**
 * Takes the lock `directory` for this process or throws LockHeld. Files in it are numbered; the highest one tells the
 * holders. A number is taken by `link`, which only one can do, and the highest file is never removed, so that no slow
 * rival can take over what somebody else has taken meanwhile.
 * Pids are those of this pid namespace: a store shared between containers is not protected.
 */
export function takeLock(directory: string): Lock {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const draft = join(directory, `draft-${process.pid}-${Date.now()}`);
  const numbers = () =>
    readdirSync(directory)
      .map(Number)
      .filter(Number.isInteger)
      .sort((a, b) => b - a);
  const prepare = (holders: Holder[]) => {
    try {
      // Nobody is an empty file, so that a lock can be released on a full disk.
      writeFileSync(draft, holders.length === 0 ? "" : JSON.stringify(holders), { mode: 0o600 });
    } catch (error) {
      rmSync(draft, { force: true });
      throw error;
    }
  };
  const write = (path: string, holders: Holder[]) => {
    prepare(holders);
    renameSync(draft, path);
  };
  const holders = [holderOf(process.pid)];
  for (;;) {
    const [highest = 0, ...older] = numbers();
    const holder = holdersIn(join(directory, String(highest))).find(isAlive);
    if (holder) throw new LockHeld(directory, holder);
    const mine = join(directory, String(highest + 1));
    prepare(holders);
    if (!linked(draft, mine)) continue;
    rmSync(draft);
    // A rival may have gone past the number that I have just filled: then it was cleared away, and the rival holds.
    if (numbers()[0] !== highest + 1) {
      rmSync(mine);
      continue;
    }
    for (const number of [highest, ...older]) rmSync(join(directory, String(number)), { force: true });
    return {
      share: (pid) => write(mine, [...holders, holderOf(pid)]),
      release: () => write(mine, []),
    };
  }
}

function holdersIn(path: string): Holder[] {
  try {
    const text = readFileSync(path, "utf8");
    return text === "" ? [] : (JSON.parse(text) as Holder[]);
  } catch (error) {
    // No file yet, or a rival cleared it away: the link that follows finds out.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
