// Owns what a process knows of grants: a copy of the bucket, each record verified once, asked at the door of every call of an app.
import { z } from "zod";
import { SomaError } from "../abi/errors.ts";
import type { Principal } from "../abi/headers.ts";
import { grant as grantSchema, signedGrant } from "../abi/syscalls/auth.ts";
import { syscall } from "../abi/syscalls.ts";
import type { NatsBus } from "./bus.ts";
import { verifySignature } from "./nkey.ts";
import { Kv } from "./store.ts";

export type Grant = z.output<typeof grantSchema>;
export type SignedGrant = z.output<typeof signedGrant>;

export interface GrantOptions {
  /** Requests of a holder that run right now, for the caveat `concurrency`. It counts at each instance of a service. */
  running?: (holder: string) => number;
  /** ms until the first request of these holders is expected to be over; undefined when nobody knows. */
  soonest?: (holders: ReadonlySet<string>) => number | undefined;
  /** Unix ms. */
  now?: () => number;
}

interface Known {
  grant: Grant;
  calls: ReadonlySet<string>;
  signature: string;
}

/** Former holders are remembered only to word a refusal better. */
const REMEMBERED = 1_000;
/** setTimeout takes no more; a later expiry is looked at again then. */
const LONGEST_TIMER = 0x7fffffff;

/** Holder -> the grant it has now. The bucket is the truth; a record that auth did not sign counts as none. */
export class GrantTable {
  private readonly known = new Map<string, Known>();
  /** The same grants, by their ids. */
  private readonly ids = new Map<string, Grant>();
  private readonly former = new Map<string, "revoked" | "expired">();
  private readonly listeners = new Set<(holder: string) => void>();
  private readonly running: (holder: string) => number;
  private readonly soonest: NonNullable<GrantOptions["soonest"]>;
  private readonly now: () => number;
  private timer: NodeJS.Timeout | undefined;
  /** Records with a wrong signature or shape, for `stat`: more than 0 means that somebody but auth wrote the bucket. */
  forged = 0;

  /** `key`: auth's public key, an nkey. Without one no record can be verified, so no app may call. */
  constructor(
    private readonly key: string | undefined,
    { running = () => 0, soonest = () => undefined, now = Date.now }: GrantOptions = {},
  ) {
    this.running = running;
    this.soonest = soonest;
    this.now = now;
  }

  /** Follows the bucket from now on; resolves once all that it holds is known. Returns the way to stop. */
  async follow(bus: NatsBus): Promise<() => void> {
    const kv = await Kv.open<unknown>(bus, "grants");
    const stop = await kv.watch((holder, record) => this.apply(holder, record));
    return () => {
      stop();
      clearTimeout(this.timer);
    };
  }

  /** Takes a change of the bucket; `record` undefined means deleted. */
  apply(holder: string, record: unknown): void {
    const before = this.known.get(holder);
    const next = record === undefined ? undefined : this.verify(holder, record, before);
    if (before !== undefined) this.ids.delete(before.grant.id);
    if (next === undefined) {
      this.known.delete(holder);
    } else {
      this.known.set(holder, next);
      this.ids.set(next.grant.id, next.grant);
      this.former.delete(holder);
    }
    if (before !== undefined && before.grant.id !== next?.grant.id) this.gone(holder, "revoked");
    this.arm();
  }

  /** Called with each holder whose grant was revoked, replaced or has expired: end what runs for it. */
  onRevoke(listener: (holder: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The valid grant of a holder. */
  find(holder: string): Grant | undefined {
    const grant = this.known.get(holder)?.grant;
    return grant !== undefined && !this.expired(grant) ? grant : undefined;
  }

  /** The valid grant with this id. */
  byId(id: string): Grant | undefined {
    const grant = this.ids.get(id);
    return grant !== undefined && !this.expired(grant) ? grant : undefined;
  }

  /** The share of the machine that an app has: the largest weight of its holders, for they share it. 1 when none names one. */
  weightOf(app: string): number {
    let most: number | undefined;
    for (const { grant } of this.known.values()) {
      if (grant.app !== app || grant.caveats.weight === undefined || this.expired(grant)) continue;
      most = Math.max(most ?? 0, grant.caveats.weight);
    }
    return most ?? 1;
  }

  /** How many holders have one. */
  get size(): number {
    return this.known.size;
  }

  /**
   * Whether an app may make this call now. Gives for whom the work is done, or throws EPERM or EBUSY with the next step.
   * An absent `maxTokens` of the input becomes what the grant allows, for "as many as you like" is not granted.
   */
  authorize(caller: string, name: string, input: unknown): Principal {
    const known = this.known.get(caller);
    if (known === undefined || this.expired(known.grant)) throw this.missing(caller, name, known !== undefined);
    const { grant, calls } = known;
    if (!calls.has(name)) throw new SomaError("EPERM", `"${caller}" lacks the right ${name}: ${remedy(grant, name)}`);
    checkModel(grant, name, input);
    checkTokens(grant, name, input);
    this.checkConcurrency(grant);
    return { principal: grant.app, grant: grant.id, revision: grant.revision };
  }

  private verify(holder: string, record: unknown, before: Known | undefined): Known | undefined {
    const signed = signedGrant.safeParse(record);
    if (signed.success && signed.data.signature === before?.signature) return before;
    const grant = signed.success && this.key !== undefined ? readGrant(this.key, signed.data) : undefined;
    if (signed.success && grant?.holder === holder) {
      return { grant, calls: new Set(grant.calls), signature: signed.data.signature };
    }
    this.forged += 1;
    return undefined;
  }

  /** A holder and those it handed its grant on to run no more together than its grant allows, nor do those above it. */
  private checkConcurrency(grant: Grant): void {
    for (let above: Grant | undefined = grant; above !== undefined; above = this.above(above)) {
      const { concurrency } = above.caveats;
      // Each child's is at most its parent's, so that of a grant without any no parent has one.
      if (concurrency === undefined) return;
      const holders = new Set<string>();
      for (const { grant: other } of this.known.values()) if (this.isWithin(other, above.id)) holders.add(other.holder);
      const running = [...holders].reduce((sum, holder) => sum + this.running(holder), 0);
      if (running < concurrency) continue;
      const what = `${concurrency} requests run under the grant of "${above.holder}", as many as it allows`;
      const soonest = this.soonest(holders);
      const detail = soonest === undefined ? {} : { retryAfterMs: soonest };
      throw new SomaError("EBUSY", `${what}: wait for one to end`, detail);
    }
  }

  private isWithin(grant: Grant, id: string): boolean {
    for (let above: Grant | undefined = grant; above !== undefined; above = this.above(above))
      if (above.id === id) return true;
    return false;
  }

  private above({ parent }: Grant): Grant | undefined {
    return parent === null ? undefined : this.ids.get(parent);
  }

  private missing(caller: string, name: string, expired: boolean): SomaError {
    const why = expired ? "expired" : this.former.get(caller);
    const what =
      why === undefined
        ? `"${caller}" has no grant`
        : `the grant of "${caller}" ${why === "revoked" ? "was revoked" : "has expired"}`;
    return new SomaError("EPERM", `${what}, so it lacks the right ${name}: soma app grant ${caller} --call ${name}`);
  }

  private expired({ expiresAt }: Grant): boolean {
    return expiresAt !== null && expiresAt <= this.now();
  }

  private gone(holder: string, why: "revoked" | "expired"): void {
    this.former.set(holder, why);
    if (this.former.size > REMEMBERED) this.former.delete(this.former.keys().next().value!);
    for (const listener of this.listeners) listener(holder);
  }

  /** One timer, for the grant that expires next. */
  private arm(): void {
    clearTimeout(this.timer);
    let next = Number.POSITIVE_INFINITY;
    for (const { grant } of this.known.values()) if (grant.expiresAt !== null) next = Math.min(next, grant.expiresAt);
    if (next === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(() => this.expire(), Math.min(LONGEST_TIMER, Math.max(0, next - this.now()))).unref();
  }

  private expire(): void {
    for (const [holder, { grant }] of this.known) {
      if (!this.expired(grant)) continue;
      this.known.delete(holder);
      this.ids.delete(grant.id);
      this.gone(holder, "expired");
    }
    this.arm();
  }
}

/** The grant in a record that `key` signed; undefined when the signature or the shape is wrong. */
export function readGrant(key: string, { body, signature }: SignedGrant): Grant | undefined {
  if (!verifySignature(key, Buffer.from(body), Buffer.from(signature, "base64url"))) return undefined;
  const parsed = grantSchema.safeParse(JSON.parse(body));
  return parsed.success ? parsed.data : undefined;
}

/** What a person does so that the holder gets a call. */
function remedy({ app, holder, ephemeral }: Grant, call: string): string {
  return ephemeral
    ? `add it to "needs" in the app.json of ${app}, then: soma app approve ${app}`
    : `soma app grant ${holder} --call ${call}`;
}

/** `tiny` in a grant allows `tiny@3`; an alias must be named itself, since it may point elsewhere tomorrow. */
function checkModel({ holder, caveats: { models } }: Grant, call: string, input: unknown): void {
  // A model that is trained is named by `name`.
  const field = call === "model.train" ? "name" : "model";
  if (models === undefined || !takes(call, field)) return;
  const asked = String((input as Record<string, unknown>)[field]);
  if (models.includes(asked) || models.includes(asked.split("@")[0]!)) return;
  const allowed = models.length > 0 ? `it may use ${models.join(", ")}` : "it may use none";
  const next = `soma app grant ${holder} --call ${call} --model ${asked}`;
  throw new SomaError("EPERM", `"${holder}" may not use model "${asked}" (${allowed}): ${next}`);
}

function checkTokens({ holder, caveats: { maxTokens } }: Grant, call: string, input: unknown): void {
  if (maxTokens === undefined || !takes(call, "maxTokens")) return;
  const request = input as { maxTokens?: number };
  request.maxTokens ??= maxTokens;
  if (request.maxTokens <= maxTokens) return;
  throw new SomaError(
    "EPERM",
    `"${holder}" may ask for ${maxTokens} tokens a call, not ${request.maxTokens}: ask for fewer`,
  );
}

/** Whether a call's input has this field, by the table. */
function takes(call: string, field: string): boolean {
  const [owner = "", verb = ""] = call.split(".");
  const input = syscall(owner, verb)?.input;
  return input instanceof z.ZodObject && field in input.shape;
}
