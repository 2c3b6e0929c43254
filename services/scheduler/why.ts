// Owns the sentence that says why a sequence does not run, with numbers. Pure.
import type { Account } from "./accounts.ts";
import { partName } from "./parts.ts";
import { LENGTH, TOKEN_BUDGET } from "./quanta.ts";
import { blocksOf, rest, type Sequence } from "./sequence.ts";
import { allows, type Slot } from "./slot.ts";
import type { Speed } from "./speed.ts";

export interface Surroundings {
  policy: string;
  /** The devices that have its model. */
  slots: readonly Slot[];
  sequences: Iterable<Sequence>;
  /** Of its model, once measured. */
  speed: Speed | undefined;
  shares: Iterable<Account>;
}

export function why(sequence: Sequence, around: Surroundings): string {
  const { input, newIds, charged, device } = sequence;
  if (sequence.paused)
    return `is paused, ${newIds.length} of ${input.maxNew} tokens made: "soma resume ${sequence.id}" lets it go on`;
  if (charged.length > 0)
    return `runs on ${where(device!, sequence, around)}, ${newIds.length} of ${input.maxNew} tokens made`;
  const { policy } = around;
  if (around.slots.length === 0) return `no device has ${input.model} resident yet`;
  const slots = around.slots.filter((slot) => allows(slot, sequence.pin));
  if (slots.length === 0) return `${sequence.pin}, where it shall run, does not have ${input.model}`;
  if (slots.every(({ draining }) => draining)) return `every device with ${input.model} is being drained`;
  const ahead = [...around.sequences].filter(
    (other) => other !== sequence && other.charged.length > 0 && other.input.model === input.model,
  );
  const parts = [`waits behind ${crowd(ahead)} under ${policy}`, share(sequence, around.shares)];
  const due = slots.length === 1 ? turns(slots[0]!, around.slots) : undefined;
  if (due !== undefined) parts.push(due);
  const needed = blocksOf(sequence);
  const free = Math.max(0, ...slots.map(({ blocks, leased }) => blocks - leased));
  const short = device === undefined && needed > free;
  if (short) parts.push(`memory is short by ${needed - free} KV blocks: it needs ${needed}, ${free} are free`);
  if (short && due !== undefined)
    parts.push(`which are the quota of its part, ${slots[0]!.blocks} of ${slots[0]!.deviceBlocks}`);
  const start = short ? untilFree(ahead, needed - free, around.speed) : untilTurn(ahead, around.speed);
  if (start !== undefined) parts.push(`expected to start within ${Math.ceil(start)} ms`);
  return parts.join("; ");
}

const percent = (part: number, whole: number) => `${Math.round((100 * part) / Math.max(1, whole))}%`;

/** The device, and which part of it with which share. */
function where(device: string, { part: name }: Sequence, { slots }: Surroundings): string {
  const slot = slots.find((one) => one.device === device && one.part.name === name);
  if (slot === undefined || name === "") return device;
  return `${partName(device, slot.part)} (${percent(slot.part.share, 1)} of ${device})`;
}

/** What its part of a device has had of it, and is due; undefined where the device is not split. */
function turns({ device, part }: Slot, slots: readonly Slot[]): string | undefined {
  if (part.name === "") return undefined;
  const parts = slots.filter((slot) => slot.device === device).map((slot) => slot.part);
  const used = parts.reduce((sum, { usedMs }) => sum + usedMs, 0);
  return `${partName(device, part)} has had ${percent(part.usedMs, used)} of the time of ${device}, and is due ${percent(part.share, 1)}`;
}

/** How many, and of whom: the apps with most of them first. */
function crowd(ahead: readonly Sequence[]): string {
  const counts = new Map<string, number>();
  for (const { principal } of ahead) counts.set(principal, (counts.get(principal) ?? 0) + 1);
  const apps = [...counts].sort((a, b) => b[1] - a[1]);
  const named = apps.slice(0, 3).map(([principal, count]) => `${principal} ${count}`);
  const more = apps.length > 3 ? `, ${apps.length - 3} more apps` : "";
  return `${ahead.length} sequences${named.length > 0 ? ` (${named.join(", ")}${more})` : ""}`;
}

/** What its app got of all tokens, against what its weight entitles it to among those that want something now. */
function share({ account, principal }: Sequence, shares: Iterable<Account>): string {
  const all = [...shares];
  const tokens = all.reduce((sum, one) => sum + one.tokens, 0);
  const weights = all.reduce((sum, one) => sum + (one.active > 0 ? one.weight : 0), 0);
  const due = Math.round((100 * account.weight) / weights);
  return `${principal} has used ${account.tokens} of ${tokens} tokens (${percent(account.tokens, tokens)}), and is due ${due}% now`;
}

/** ms until enough of those ahead have ended, the shortest first. */
function untilFree(ahead: readonly Sequence[], blocks: number, speed: Speed | undefined): number | undefined {
  let short = blocks;
  let tokens = 0;
  for (const other of [...ahead].sort((a, b) => rest(a) - rest(b))) {
    if (short <= 0) break;
    short -= blocksOf(other);
    tokens = rest(other);
  }
  return short > 0 ? undefined : speed?.ms(tokens, tokens * Math.max(1, ahead.length));
}

/** ms of a short quantum: that is how soon the next pick comes. */
function untilTurn(ahead: readonly Sequence[], speed: Speed | undefined): number | undefined {
  const { maxSteps, maxMs } = LENGTH.crowded;
  const ms = speed?.ms(maxSteps, Math.min(maxSteps * TOKEN_BUDGET, maxSteps * Math.max(1, ahead.length)));
  return ms === undefined ? undefined : Math.min(ms, maxMs);
}
