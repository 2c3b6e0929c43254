// Owns the accounting of devices: who holds how many bytes where. Pure: each function gives new budgets, nothing is changed in place.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Input, Output } from "../../kernel/abi/syscalls.ts";

export interface Holding {
  kind: "weights" | "kv";
  bytes: number;
  principal?: string;
  /** The device itself has reported it. One that it reports no more is over; one not reported yet is on its way. */
  reported: boolean;
}

export interface Budget {
  totalBytes: number;
  /** Of the device's process, where one was told. */
  epoch?: number;
  holders: Readonly<Record<string, Holding>>;
}

/** Device -> its budget. */
export type Budgets = Readonly<Record<string, Budget>>;

/** What a device says of itself: the truth about what is resident. */
export type Report = Pick<Output<"device.list">, "device" | "budgetBytes"> & {
  models: Pick<Output<"device.list">["models"][number], "model" | "weightBytes" | "kvBytes">[];
  epoch?: number | undefined;
};

export function usedBytes({ holders }: Budget, kind?: Holding["kind"]): number {
  return Object.values(holders).reduce(
    (sum, held) => sum + (kind === undefined || held.kind === kind ? held.bytes : 0),
    0,
  );
}

/** Below 0 never: a device that was made smaller than what it holds has nothing free. */
export function freeBytes(budget: Budget | undefined): number {
  return budget === undefined ? 0 : Math.max(0, budget.totalBytes - usedBytes(budget));
}

/**
 * Sets what `holder` holds to `bytes`, more or less than before. Throws EAGAIN with the figures when others hold too much,
 * ENOMEM when the device is too small even if empty; then nothing changes. `wait`: ms until so many bytes more are expected free.
 */
export function reserve(
  budgets: Budgets,
  { device, holder, kind, bytes, principal }: Input<"memory.reserve">,
  wait: (short: number) => number,
): Budgets {
  const budget = own(budgets, device);
  if (budget === undefined) {
    const retryAfterMs = wait(bytes);
    throw new SomaError("EAGAIN", `${device} has not said yet what it has: try again in ${retryAfterMs} ms`, {
      retryAfterMs,
    });
  }
  const before = own(budget.holders, holder);
  const others = usedBytes(budget) - (before?.bytes ?? 0);
  const free = Math.max(0, budget.totalBytes - others);
  // Giving some back always works, even where a device was made smaller than what it holds.
  if (bytes > free && bytes > (before?.bytes ?? 0)) {
    const figures = `${device} has ${mb(free)} of ${mb(budget.totalBytes)} free, and "${holder}" asks for ${mb(bytes)}`;
    if (bytes > budget.totalBytes) throw new SomaError("ENOMEM", `${figures}: use a smaller model, int8, or less KV`);
    const retryAfterMs = wait(bytes - free);
    const next = `unload a model, or try again in ${retryAfterMs} ms, when so much is expected to be free`;
    throw new SomaError("EAGAIN", `${figures}: ${next}`, { retryAfterMs });
  }
  const holding = {
    kind,
    bytes,
    reported: before?.reported ?? false,
    ...(principal === undefined ? {} : { principal }),
  };
  return { ...budgets, [device]: { ...budget, holders: { ...budget.holders, [holder]: holding } } };
}

/** Gives back what `holder` holds; nothing when it holds nothing. */
export function release(budgets: Budgets, { device, holder }: Input<"memory.release">): Budgets {
  const budget = own(budgets, device);
  if (budget === undefined || !Object.hasOwn(budget.holders, holder)) return budgets;
  const { [holder]: _, ...holders } = budget.holders;
  return { ...budgets, [device]: { ...budget, holders } };
}

/**
 * Takes a device's own word. What it holds counts, reserved or not; what it held and holds no more is over, since a
 * release may be lost; what was reserved and is not there yet stays, since a load takes time, unless the process that would
 * load it has a successor, since word of its end may be lost, too.
 */
export function report(budgets: Budgets, { device, budgetBytes, models, epoch }: Report): Budgets {
  const known = own(budgets, device);
  const [before, since = epoch] = [known?.holders ?? {}, known?.epoch];
  if (epoch !== undefined && epoch < since!) return budgets;
  const holders: Record<string, Holding> = {};
  if (epoch === since || epoch === undefined)
    for (const [holder, held] of Object.entries(before)) if (!held.reported) holders[holder] = held;
  for (const { model, weightBytes, kvBytes } of models) {
    for (const [kind, bytes] of [
      ["weights", weightBytes],
      ["kv", kvBytes],
    ] as const) {
      const holder = `${model}/${kind}`;
      holders[holder] = { ...own(before, holder), kind, bytes, reported: true };
    }
  }
  const latest = epoch ?? since;
  const budget = { totalBytes: budgetBytes, holders, ...(latest === undefined ? {} : { epoch: latest }) };
  return { ...budgets, [device]: budget };
}

/** Forgets a device that went down, with all that it held. */
export function down(budgets: Budgets, device: string): Budgets {
  const { [device]: _, ...rest } = budgets;
  return rest;
}

/** Forgets the devices that run no more, if word of their end was missed. */
export function running(budgets: Budgets, devices: readonly string[]): Budgets {
  return Object.fromEntries(Object.entries(budgets).filter(([device]) => devices.includes(device)));
}

/** For people. */
export function show(budgets: Budgets): Output<"memory.free">["devices"] {
  return Object.entries(budgets).map(([device, budget]) => ({
    device,
    totalBytes: budget.totalBytes,
    weightBytes: usedBytes(budget, "weights"),
    kvBytes: usedBytes(budget, "kv"),
    freeBytes: freeBytes(budget),
    holders: Object.entries(budget.holders).map(([holder, { kind, bytes, principal }]) => ({
      holder,
      kind,
      bytes,
      ...(principal === undefined ? {} : { principal }),
    })),
  }));
}

/** Names come from outside: "constructor" is in every object. */
function own<V>(record: Readonly<Record<string, V>>, key: string): V | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

const mb = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;
