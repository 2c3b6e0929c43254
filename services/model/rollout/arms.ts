// Owns how the two sides of a canary do, and when that decides. Figures are of this process: they begin anew when it does.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";

type Row = Output<"model.rollouts">["rollouts"][number];
export type ArmRow = Row["arms"][number];
export type Rule = NonNullable<Row["canary"]>["rule"];

/** Times of so many requests are kept. */
const KEPT = 1_000;
/** The caller's own doing, or his budget's: no version is better or worse for it. */
const CALLERS = ["EINVAL", "EPERM", "ENOENT", "ECANCELED", "EDQUOT", "E2BIG", "EPIPE", "ENOSYS"];

export interface Timing {
  firstMs?: number | undefined;
  tokenMs?: number | undefined;
}

export class Arm {
  requests = 0;
  failures = 0;
  private readonly first: number[] = [];
  private readonly token: number[] = [];

  /** Takes the end of a request. */
  add(error: unknown, { firstMs, tokenMs }: Timing = {}): void {
    if (error instanceof SomaError && CALLERS.includes(error.code)) return;
    this.requests += 1;
    if (error !== undefined) this.failures += 1;
    keep(this.first, firstMs);
    keep(this.token, tokenMs);
  }

  row(model: string, version: number): ArmRow {
    const { requests, failures } = this;
    return {
      model,
      version,
      requests,
      failures,
      firstMs: middleAndTail(this.first),
      tokenMs: middleAndTail(this.token),
    };
  }
}

export interface Verdict {
  what: "rolled back" | "promoted";
  why: string;
}

/** What a rule says of a canary now; undefined while it says nothing. */
export function verdict(stable: ArmRow, canary: ArmRow, rule: Rule): Verdict | undefined {
  const share = ({ failures, requests }: ArmRow) => failures / Math.max(1, requests);
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  if (canary.requests < rule.requests) return undefined;
  if (share(canary) > share(stable) + rule.failures) {
    const why = `${percent(share(canary))} of ${canary.requests} requests failed, ${percent(share(stable))} of the other ${stable.requests}`;
    return { what: "rolled back", why };
  }
  const [slow, usual] = [canary.tokenMs?.[1], stable.tokenMs?.[1]];
  if (slow !== undefined && usual !== undefined && stable.requests >= rule.requests && slow > rule.slower * usual)
    return {
      what: "rolled back",
      why: `${slow.toFixed(1)} ms between tokens (p95), ${usual.toFixed(1)} ms on the other side`,
    };
  if (rule.promoteAfter !== undefined && canary.requests >= rule.promoteAfter)
    return { what: "promoted", why: `${canary.requests} requests, ${percent(share(canary))} failed` };
  return undefined;
}

/** Whether a request belongs to the share: the same key always does or never does, so a resumed stream stays where it began. */
export function inShare(key: string, share: number): boolean {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  // The last bits of FNV-1a are the best mixed.
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) >>> 0) / 0x1_0000_0000 < share;
}

function keep(list: number[], value: number | undefined): void {
  if (value === undefined) return;
  list.push(value);
  if (list.length > KEPT) list.shift();
}

function middleAndTail(list: readonly number[]): [number, number] | null {
  if (list.length === 0) return null;
  const sorted = [...list].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return [at(0.5), at(0.95)];
}
