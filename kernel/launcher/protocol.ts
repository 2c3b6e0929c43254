// Owns what the kernel and its launcher say to each other over Node's IPC channel. JSON; no tensor, token or policy passes here.

/** kernel -> launcher */
export type Order =
  | StartOrder
  /** Any signal; KILL reaches the child's whole process group. */
  | { type: "kill"; id: string; signal: NodeJS.Signals }
  /** Each BEAT_MS of hang.ts: a kernel that has begun to beat and stops is killed and replaced. */
  | { type: "beat" }
  /** Answered by `children`: what a fresh kernel adopts. */
  | { type: "list" }
  /** What an interactive child reads; without data its input ends. Base64. */
  | { type: "input"; id: string; data?: string }
  /** Whether a relayed child's output is read on: off, it blocks on its own output before long. */
  | { type: "flow"; id: string; on: boolean }
  /** The end: kill what is left, stop the broker, exit with this code. */
  | { type: "stop"; code: number };

/** Answered by `started` and, in the end, `exited`; by `exited` alone when it cannot be started at all. */
export interface StartOrder {
  type: "start";
  /** Free to choose, unique among the running. NAME of abi/limits.ts. */
  id: string;
  /** Name of its log file; by default its id. */
  log?: string;
  /** Path of a program for Node, absolute or from the repository's root; TypeScript runs through tsx. */
  entry: string;
  args?: string[];
  /** Bundled once per change instead, so that it starts several times as quickly: for programs of ours. */
  bundled?: boolean;
  /** All that it gets besides PATH, HOME, TMPDIR, LANG and TZ. */
  env?: Record<string, string>;
  /** Limit of V8's heap. */
  memoryMb?: number;
  /** Further options for Node itself. */
  nodeOptions?: string[];
  /** Its output is reported as it comes, and not kept in a file. */
  relay?: boolean;
  /** Its stdin takes `input` orders. */
  interactive?: boolean;
  /** A secret, written to its stdin, which ends then: neither arguments nor environment show it. */
  stdin?: string;
}

export interface ChildInfo {
  id: string;
  pid: number;
  /** Unix ms. */
  startedAt: number;
}

/** launcher -> kernel */
export type Report =
  | { type: "started"; id: string; pid: number }
  /** Of a relayed child, all of it before its `exited`. Base64. */
  | { type: "output"; id: string; fd: 1 | 2; data: string }
  | {
      type: "exited";
      id: string;
      /** 0 when it never ran. */
      pid: number;
      code: number | null;
      signal: NodeJS.Signals | null;
      /** The end of its output. */
      lines: string[];
    }
  /** An order that makes no sense: the kernel's bug. */
  | { type: "refused"; order: string; id?: string; reason: string }
  | { type: "children"; children: ChildInfo[] }
  /** Somebody wants us to end: stop everything in order and send `stop` within SHUTDOWN_MS, or all is killed. */
  | { type: "shutdown" }
  /** The first report to each kernel, and whenever it changes. No pid when it is not ours; `startedAt` in unix ms. */
  | { type: "broker"; state: "up" | "down"; url: string; pid?: number; startedAt: number };

export const SHUTDOWN_MS = 5_000;

/**
 * kernel -> a launcher in a container of its own, over the broker. `n` grows by one; what the launcher's beats do not say
 * to be taken is sent again.
 */
export interface HostOrder {
  n: number;
  /** `state`: what supervision thinks of its service, for the container's health. */
  order: StartOrder | { type: "kill"; id: string; signal: NodeJS.Signals } | { type: "state"; state: string };
}

/** Such a launcher -> kernel. What of it is lost is seen in the next beat, each HOST_BEAT_MS. */
export type HostReport =
  | Extract<Report, { type: "started" | "exited" | "refused" }>
  | { type: "here"; hostname: string; took: number; children: ChildInfo[] }
  /** It ends, and its child before it. */
  | { type: "leaving" };

export const HOST_BEAT_MS = 500;

const FIELDS: Record<Order["type"], Record<string, string>> = {
  start: { id: "string", entry: "string" },
  kill: { id: "string", signal: "string" },
  beat: {},
  list: {},
  input: { id: "string" },
  flow: { id: "string", on: "boolean" },
  stop: { code: "number" },
};

/** The order in a message, or the reason why it is none. */
export function parseOrder(message: unknown): Order | { refused: string } {
  if (typeof message !== "object" || message === null) return { refused: "not an object" };
  const order = message as Record<string, unknown>;
  if (!Object.hasOwn(FIELDS, String(order.type))) return { refused: `no order is called ${String(order.type)}` };
  for (const [field, type] of Object.entries(FIELDS[order.type as Order["type"]])) {
    if (typeof order[field] !== type) return { refused: `${field} must be a ${type}` };
  }
  return order as unknown as Order;
}
