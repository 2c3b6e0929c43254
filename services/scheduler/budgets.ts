// Owns the budgets of those the scheduler works for: leases slices of them from auth, holds calls to them, gives back what is left.
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Grant, GrantTable } from "../../kernel/ipc/grants.ts";
import type { Log } from "../../kernel/ipc/log.ts";
import type { Bucket } from "../../kernel/ipc/store.ts";
import type { Report } from "./board.ts";
import {
  type Amounts,
  add,
  begin,
  type Call,
  covers,
  depart,
  emptySlice,
  end,
  fits,
  inUse,
  land,
  most,
  type Slice,
  times,
  ZERO,
} from "./quota.ts";

interface Leased extends Slice {
  grant: string;
  holder: string;
  name: string;
  /** Auth's name for it. */
  lease: string;
  /** ms on our clock. No call begins on it from MARGIN_MS before. */
  until: number;
  since: number;
  usedAt: number;
  /** What the journal says may be in use: at least what is. */
  marked: Amounts;
  writing?: Promise<void>;
}

export interface BudgetsOptions {
  client: Pick<Client, "call">;
  grants: Pick<GrantTable, "byId">;
  /** Lease -> what may be in use of it. A successor charges that: it cannot know what became of the calls. */
  journal: Bucket<Amounts>;
  /** `<instance>-<epoch>`: part of the names of leases. */
  name: string;
  log: Pick<Log, "warn">;
  crash: (error: unknown) => void;
  /** ms, monotonic. */
  now?: () => number;
}

/** Leased ahead: so many calls like the one that asks. */
const AHEAD = 4;
/** A slice that nobody used for so long goes back; one that is in use is replaced now and then, so that auth's figures follow. */
const IDLE_MS = 1_000;
const ROTATE_MS = 20_000;
/** Renewed before it ends by this. */
const MARGIN_MS = 15_000;
/** A first guess at a device's ms for a token, until it was measured. */
const GUESS_MS = 0.5;
const ARRIVAL_MS = 1_000;
/** Auth may have died and come back meanwhile. */
const ASK_MS = 10_000;

export class Budgets {
  /** Grant -> the slice on which its calls begin. */
  private readonly current = new Map<string, Leased>();
  private readonly slices = new Set<Leased>();
  private readonly calls = new Map<string, Call<Leased>>();
  private readonly asking = new Map<string, Promise<void>>();
  /** Grant -> worst cases of its calls that wait for a slice. */
  private readonly wanted = new Map<string, Amounts>();
  /** Lease -> what was spent of it, until auth has heard. */
  private readonly unsettled = new Map<string, Amounts>();
  /** Model -> ms of a device for a token, smoothed. */
  private readonly pace = new Map<string, number>();
  private readonly now: () => number;
  private number = 0;

  constructor(private readonly options: BudgetsOptions) {
    this.now = options.now ?? (() => performance.now());
  }

  /** Charges what a former instance had in use when it died. */
  async open(): Promise<void> {
    for (const { key, value } of await this.options.journal.entries()) this.unsettled.set(key, value);
    await this.settle();
  }

  /** Leases that are out, for `stat`. */
  get size(): number {
    return this.slices.size + this.unsettled.size;
  }

  /**
   * Sets aside what a call may come to; undefined when its grant has no budget. EDQUOT when that is more than is left.
   * Whatever happens then, `ended` must follow.
   */
  admit(mid: string, { grant: id }: Principal, model: string, tokens: number): Promise<void> | undefined {
    if (id === undefined) return undefined;
    const grant = this.options.grants.byId(id);
    if (grant === undefined) return this.arrival(id).then((late) => this.hold(mid, late, model, tokens));
    return this.hold(mid, grant, model, tokens);
  }

  private hold(mid: string, grant: Grant, model: string, tokens: number): Promise<void> | undefined {
    const { tokens: limit, deviceMs } = grant.caveats;
    if (limit === undefined && deviceMs === undefined) return undefined;
    const time = Math.ceil(2 * tokens * (this.pace.get(model) ?? GUESS_MS));
    return this.take(mid, grant, {
      tokens: limit === undefined ? 0 : tokens,
      deviceMs: deviceMs === undefined ? 0 : Math.min(time, deviceMs.amount),
    });
  }

  /** The model service may have heard of a fresh grant before us. */
  private async arrival(id: string): Promise<Grant> {
    for (const until = this.now() + ARRIVAL_MS; this.now() < until; ) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      const grant = this.options.grants.byId(id);
      if (grant !== undefined) return grant;
    }
    throw new SomaError("EPERM", `the grant ${id} was revoked or has expired: ask for a new one`, { executed: "no" });
  }

  /** A quantum that names them goes to a device. */
  departed(mids: readonly string[]): void {
    for (const mid of mids) {
      const call = this.calls.get(mid);
      if (call) depart(call);
    }
  }

  /** It is back with its report, or lost. A sequence's share of the time is its share of the tokens. */
  landed(mids: readonly string[], model: string, report?: Report): void {
    if (report && report.computedTokens > 0) {
      const measured = report.ms / report.computedTokens;
      this.pace.set(model, 0.8 * (this.pace.get(model) ?? measured) + 0.2 * measured);
    }
    const parts = new Map(report?.seqs.map(({ seq, computed }) => [seq, computed]));
    for (const mid of mids) {
      const call = this.calls.get(mid);
      if (call === undefined) continue;
      const computed = parts.get(mid) ?? 0;
      const share = report && report.computedTokens > 0 ? (report.ms * computed) / report.computedTokens : 0;
      land(call, { tokens: computed, deviceMs: Math.ceil(share) });
      this.forget(mid, call);
    }
  }

  /** The request has its outcome. */
  ended(mid: string): void {
    const call = this.calls.get(mid);
    if (call === undefined) return;
    end(call);
    this.forget(mid, call);
  }

  /** Now and then: gives back what nobody uses, renews what is in use, says again what auth has not heard. */
  async tick(): Promise<void> {
    const now = this.now();
    for (const slice of this.slices) {
      const idle = this.current.get(slice.grant) !== slice || now - slice.usedAt > IDLE_MS;
      const ends = slice.until - now < MARGIN_MS;
      if (slice.calls > 0 && ends) await this.renew(slice);
      else if (slice.calls === 0 && (idle || ends) && !this.asking.has(slice.grant)) this.giveBack(slice);
    }
    await this.settle();
  }

  /** After the last reply. */
  async stop(): Promise<void> {
    for (const slice of this.slices) this.giveBack(slice);
    await this.settle();
  }

  private async take(mid: string, grant: Grant, worst: Amounts): Promise<void> {
    this.want(grant.id, worst);
    let slice: Leased | undefined;
    try {
      while (slice === undefined) {
        const current = this.current.get(grant.id);
        if (current && this.now() < current.until - MARGIN_MS && fits(current, worst)) slice = current;
        else await this.ask(grant, worst);
      }
    } finally {
      this.want(grant.id, times(worst, -1));
    }
    this.calls.set(mid, begin(slice, worst));
    slice.usedAt = this.now();
    await this.mark(slice);
  }

  private want(grant: string, worst: Amounts): void {
    const wanted = add(this.wanted.get(grant) ?? ZERO, worst);
    if (covers(ZERO, wanted)) this.wanted.delete(grant);
    else this.wanted.set(grant, wanted);
  }

  /** One at a time for each grant: those who wait look again whether it is enough for them. */
  private async ask(grant: Grant, worst: Amounts): Promise<void> {
    const running = this.asking.get(grant.id);
    if (running) return running.catch(() => {});
    const asked = this.lease(grant, worst).finally(() => this.asking.delete(grant.id));
    this.asking.set(grant.id, asked);
    return asked;
  }

  private async lease({ id: grant, holder }: Grant, worst: Amounts): Promise<void> {
    // What auth was not told of might be leased a second time once the lease has ended.
    await this.settle();
    if ([...this.unsettled.keys()].some((lease) => lease.startsWith(`${grant}.`)))
      throw new SomaError("ESERVICEDOWN", `auth does not answer: see "soma ps"`, { executed: "no" });
    const before = this.current.get(grant);
    const now = this.now();
    for (const slice of this.slices)
      if (slice.grant === grant && slice !== before && slice.until - now < MARGIN_MS) await this.renew(slice);
    const goesOn = before && now < before.until - MARGIN_MS && now - before.since < ROTATE_MS;
    // The free part of the former one returns first.
    if (before && !goesOn && before.calls > 0) await this.renew(before, inUse(before));
    const slice = goesOn ? before : this.fresh(grant, holder);
    const used = inUse(slice);
    const ahead = most(times(worst, AHEAD), this.wanted.get(grant) ?? ZERO);
    // Known before it exists, so that a successor can return it.
    if (!goesOn) await this.options.journal.put(slice.lease, ZERO);
    try {
      await this.reserve(slice, add(used, ahead), add(used, worst));
    } catch (error) {
      // Leased perhaps, if the answer was lost.
      if (!goesOn) this.unsettled.set(slice.lease, ZERO);
      throw error;
    }
    this.slices.add(slice);
    this.current.set(grant, slice);
  }

  private fresh(grant: string, holder: string): Leased {
    const name = `${this.options.name}-${this.number++}`;
    const now = this.now();
    return {
      ...emptySlice(ZERO),
      grant,
      holder,
      name,
      lease: `${grant}.${name}`,
      until: 0,
      since: now,
      usedAt: now,
      marked: ZERO,
    };
  }

  private async reserve(slice: Leased, wanted: Amounts, least: Amounts): Promise<void> {
    const { holder, name, grant } = slice;
    const asked = this.now();
    const { lease, tokens, deviceMs, expiresMs } = await this.options.client.call(
      "auth.reserve",
      { holder, lease: name, ...wanted, least },
      { ttl: ASK_MS },
    );
    if (lease !== slice.lease)
      throw new SomaError("EPERM", `the grant ${grant} of "${holder}" was replaced`, { executed: "no" });
    slice.held = { tokens, deviceMs };
    slice.until = asked + expiresMs;
  }

  /** Calls on it run longer than it lasts. If auth does not answer, it is settled late. */
  private async renew(slice: Leased, amounts: Amounts = slice.held): Promise<void> {
    try {
      await this.reserve(slice, amounts, ZERO);
    } catch (error) {
      if (!isSomaError(error)) return this.options.crash(error);
      this.options.log.warn({ err: error, lease: slice.lease }, "a slice of a budget could not be renewed");
    }
  }

  /** Resolves when the journal covers what is in use. Calls that begin together share a write. */
  private async mark(slice: Leased): Promise<void> {
    const needed = inUse(slice);
    // Less is written, and is enough, when a call has ended meanwhile.
    const covered = () => covers(slice.marked, needed) || covers(slice.marked, inUse(slice));
    while (!covered()) await (slice.writing ??= this.write(slice));
  }

  private async write(slice: Leased): Promise<void> {
    const mark = inUse(slice);
    try {
      await this.options.journal.put(slice.lease, mark);
      slice.marked = mark;
    } finally {
      delete slice.writing;
    }
  }

  private forget(mid: string, call: Call<Leased>): void {
    if (!call.over || call.flights > 0) return;
    this.calls.delete(mid);
    call.slice.usedAt = this.now();
  }

  private giveBack(slice: Leased): void {
    this.slices.delete(slice);
    if (this.current.get(slice.grant) === slice) this.current.delete(slice.grant);
    // At the very end a device may still compute for a call that was canceled.
    this.unsettled.set(slice.lease, inUse(slice));
  }

  private settling: Promise<void> | undefined;

  private settle(): Promise<void> {
    this.settling ??= this.settleAll().finally(() => {
      this.settling = undefined;
    });
    return this.settling;
  }

  private async settleAll(): Promise<void> {
    const { client, journal, log, crash } = this.options;
    for (const [lease, amounts] of this.unsettled) {
      try {
        await client.call("auth.settle", { lease, tokens: amounts.tokens, deviceMs: Math.ceil(amounts.deviceMs) });
        await journal.del(lease);
        this.unsettled.delete(lease);
      } catch (error) {
        if (!isSomaError(error)) return void crash(error);
        // Auth is away: until it has heard, it counts the whole slice as used.
        log.warn({ err: error, lease }, "a slice of a budget could not be settled yet");
        return;
      }
    }
  }
}
