// Owns what a process of this machine uses: resident memory and CPU time, from /proc or ps.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export interface Usage {
  rssBytes: number;
  cpuMs: number;
}

/** What Linux counts CPU time in, on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Of each pid that runs here; those that do not are left out. */
export function usageOf(pids: readonly number[]): Map<number, Usage> {
  return process.platform === "linux" ? fromProc(pids) : fromPs(pids);
}

function fromProc(pids: readonly number[]): Map<number, Usage> {
  const found = new Map<number, Usage>();
  for (const pid of pids) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      // The name in brackets may hold anything: count from its end. Fields 14 and 15 are user and system ticks.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const cpuMs = ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
      const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      found.set(pid, { rssBytes: Number(rss ?? 0) * 1024, cpuMs });
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
  return found;
}

function fromPs(pids: readonly number[]): Map<number, Usage> {
  const { stdout } = spawnSync("ps", ["-o", "pid=,rss=,time=", "-p", pids.join(",")], { encoding: "utf8" });
  return new Map(parsePs(stdout ?? ""));
}

/** [pid, usage] of each line "pid kilobytes [[dd-]hh:]mm:ss[.cc]". */
export function parsePs(text: string): [number, Usage][] {
  return text
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [pid = "", rss = "", time = ""] = line.trim().split(/\s+/);
      const [days, clock = ""] = time.includes("-") ? time.split("-") : ["0", time];
      const seconds = clock.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
      return [
        Number(pid),
        { rssBytes: Number(rss) * 1024, cpuMs: Math.round((Number(days) * 86_400 + seconds) * 1000) },
      ];
    });
}
