// Owns the shape of one entry of the syscall table.
import type { ZodType, z } from "zod";
import type { Role } from "./names.ts";

/** `call`: one reply. `stream`: chunks, then one reply. `submit`: journalled before it is acknowledged, then done at least once. */
export type Kind = "call" | "stream" | "submit";

export interface Syscall<I extends ZodType = ZodType, C extends ZodType = ZodType, O extends ZodType = ZodType> {
  kind: Kind;
  /** One line for docs and help. */
  what: string;
  input: I;
  /** Of a stream. */
  chunk?: C;
  /** What the caller sends after `accepted`, if anything. */
  upload?: ZodType;
  output: O;
  /**
   * Least role that may ever hold it. `app` needs a grant besides; `viewer` the same, and shows what others do, so that it is
   * never handed on (docs/adr/0005). The person may whatever an app may.
   */
  right: Extract<Role, "app" | "person" | "service" | "boot" | "kernel"> | "viewer";
  /** Its record in the audit is stored before the reply leaves, as that of every `submit`. */
  recorded?: true;
  /** The SDK may repeat it by itself. */
  idempotent: boolean;
  /** Default time to live in ms; 0 means none: it lasts as long as its caller. */
  ttl: number;
}

type Table = Record<string, Syscall>;

/** Keeps the literal types of a service's table. */
export function table<T extends Table>(calls: T): T {
  return calls;
}

export type InputOf<S extends Syscall> = z.input<S["input"]>;
export type OutputOf<S extends Syscall> = z.output<S["output"]>;
export type ChunkOf<S extends Syscall> = S["chunk"] extends ZodType ? z.output<S["chunk"]> : never;

/** Which roles may hold a call of the given right. Kernel and services act for everybody. */
export const MAY: Record<Syscall["right"], readonly Role[]> = {
  app: ["app", "person", "service", "kernel"],
  viewer: ["app", "person", "service", "kernel"],
  person: ["person", "service", "kernel"],
  service: ["service", "kernel"],
  boot: ["boot"],
  kernel: ["kernel"],
};

/** Whether a grant can name a call of the given right. */
export function isGrantable(right: Syscall["right"]): boolean {
  return right === "app" || right === "viewer";
}

/** Whether a call's record must be stored before its reply leaves. */
export function isRecorded({ kind, recorded }: Syscall): boolean {
  return recorded === true || kind === "submit";
}
