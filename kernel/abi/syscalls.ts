// Owns THE table: every call of every owner. Docs, rights, SDK types and the server's checks are derived from it.
import type { Owner } from "./names.ts";
import type { ChunkOf, InputOf, OutputOf, Syscall } from "./syscall.ts";
import { auth } from "./syscalls/auth.ts";
import { common } from "./syscalls/common.ts";
import { data } from "./syscalls/data.ts";
import { device } from "./syscalls/device.ts";
import { kernel } from "./syscalls/kernel.ts";
import { memory } from "./syscalls/memory.ts";
import { model } from "./syscalls/model.ts";
import { rollout } from "./syscalls/rollout.ts";
import { scheduler } from "./syscalls/scheduler.ts";

export const SYSCALLS = {
  kernel: { ...common, ...kernel },
  auth: { ...common, ...auth },
  memory: { ...common, ...memory },
  device: { ...common, ...device },
  scheduler: { ...common, ...scheduler },
  model: { ...common, ...model, ...data, ...rollout },
} as const satisfies Record<Owner, Record<string, Syscall>>;

export type Syscalls = typeof SYSCALLS;
/** `model.generate` and the like. */
export type CallName = { [O in Owner]: `${O}.${Extract<keyof Syscalls[O], string>}` }[Owner];
export type Entry<N extends CallName> = N extends `${infer O extends Owner}.${infer C}`
  ? C extends keyof Syscalls[O]
    ? Extract<Syscalls[O][C], Syscall>
    : never
  : never;
export type Input<N extends CallName> = InputOf<Entry<N>>;
export type Output<N extends CallName> = OutputOf<Entry<N>>;
export type Chunk<N extends CallName> = ChunkOf<Entry<N>>;

/** The entry of `owner.call`, or undefined. */
export function syscall(owner: string, call: string): Syscall | undefined {
  const calls: Record<string, Syscall> | undefined = SYSCALLS[owner as Owner];
  return calls !== undefined && Object.hasOwn(calls, call) ? calls[call] : undefined;
}

/** Every [owner, call, entry], in table order. */
export function allSyscalls(): [Owner, string, Syscall][] {
  return Object.entries(SYSCALLS).flatMap(([owner, calls]) =>
    Object.entries(calls as Record<string, Syscall>).map(([call, entry]): [Owner, string, Syscall] => [
      owner as Owner,
      call,
      entry,
    ]),
  );
}

/** Calls that everybody who may call a service at all may make, on the caller's own requests only. */
export const CONTROL = ["cancel", "credit", "chunk"] as const;
