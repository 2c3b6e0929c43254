// Owns how children die with this process, even when it is killed -9.
import { spawnSync } from "node:child_process";

/** Runs a command as a child that does not outlive us: what to spawn, and whether fd 0 must be a pipe that we keep open. */
export interface Tethered {
  command: string;
  args: string[];
  stdin: "ignore" | "pipe";
}

export const TETHER_KINDS = ["pdeathsig", "pipe"] as const;
export type TetherKind = (typeof TETHER_KINDS)[number];

/**
 * `pdeathsig`: Linux kills the child when the THREAD that spawned it ends, so spawn from the main thread only.
 * `pipe`, elsewhere: the child watches a pipe that closes with us.
 */
export function tetherKind(): TetherKind {
  if (process.platform !== "linux") return "pipe";
  // Busybox has a setpriv without this option.
  return spawnSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" }).status === 0 ? "pdeathsig" : "pipe";
}

/**
 * The shell stays the parent: it passes TERM and INT on, ends with the command's code, and kills the command when the
 * pipe closes. `3<&0` because a shell gives background commands an empty stdin.
 */
const WATCH = `exec 3<&0
"$@" </dev/null 3<&- & child=$!
(cat <&3 >/dev/null; kill -KILL $child) & watch=$!
trap 'kill -TERM $child' TERM INT
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
kill $watch
exit $code`;

/** For any program. With `pipe` the child is a shell that passes TERM and INT on; kill it by closing its stdin. */
export function tetherCommand(kind: TetherKind, command: string, args: readonly string[]): Tethered {
  return kind === "pdeathsig"
    ? { command: "setpriv", args: ["--pdeathsig", "KILL", "--", command, ...args], stdin: "ignore" }
    : { command: "sh", args: ["-c", WATCH, "sh", command, ...args], stdin: "pipe" };
}

/** The fd on which a Node child watches us (`pipe` only). */
export const TETHER_FD = 4;

/** For Node with these arguments. With `pipe` the caller adds a pipe at TETHER_FD to stdio. */
export function tetherNode(kind: TetherKind, args: readonly string[]): { command: string; args: string[] } {
  if (kind === "pdeathsig")
    return { command: "setpriv", args: ["--pdeathsig", "KILL", "--", process.execPath, ...args] };
  return { command: process.execPath, args: ["--import", new URL("./watch.mjs", import.meta.url).href, ...args] };
}
