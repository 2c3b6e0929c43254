// Owns what the kernel and its launcher say to each other over Node's IPC channel. JSON; no tensor, token or policy passes here.

/** kernel -> launcher */
export type Order =
  | StartOrder
  /** Any signal; KILL reaches the child's whole process group. */
  | { type: "kill"; id: string; signal: NodeJS.Signals }
  /** Answered by `children`: what a fresh kernel adopts. */
  | { type: "list" }
  /** The end: kill what is left, stop the broker, exit with this code. */
  | { type: "stop"; code: number };

/** Answered by `started` and, in the end, `exited`; by `exited` alone when it cannot be started at all. */
export interface StartOrder {
  type: "start";
  /** Free to choose, unique among the running: names the log file too. NAME of abi/limits.ts. */
  id: string;
  /** Path of a program for Node, absolute or from the repository's root; TypeScript runs through tsx. */
  entry: string;
  args?: string[];
  /** All that it gets besides PATH, HOME, TMPDIR, LANG and TZ. */
  env?: Record<string, string>;
  /** Limit of V8's heap. */
  memoryMb?: number;
  /** Further options for Node itself. */
  nodeOptions?: string[];
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
  /** The first report to each kernel, and whenever it changes. */
  | { type: "broker"; state: "up" | "down"; url: string };

export const SHUTDOWN_MS = 5_000;

const FIELDS: Record<Order["type"], Record<string, string>> = {
  start: { id: "string", entry: "string" },
  kill: { id: "string", signal: "string" },
  list: {},
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
