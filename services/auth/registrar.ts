// Owns the grants there are: gives, derives and revokes them, each step written down before the next relies on it.
import { SomaError } from "../../kernel/abi/errors.ts";
import { checkAppName } from "../../kernel/abi/names.ts";
import { type Grant, readGrant, type SignedGrant } from "../../kernel/ipc/grants.ts";
import { Serial } from "../../kernel/ipc/serial.ts";
import type { Bucket } from "../../kernel/ipc/store.ts";
import { type Amounts, type Limits, left } from "./account.ts";
import { BUDGETS, type Caveats } from "./caveats.ts";
import type { Ledger } from "./ledger.ts";
import { checkPublicKey, type Minter } from "./mint.ts";
import { childRights, family, ownLimit, type Rights, rootRights, type Wanted } from "./tree.ts";

/** A revocation under way, kept until the broker has dropped the keys: what a crash cut short is done again. */
export interface Revocation {
  /** Of the topmost grant. */
  id: string;
  parent: string | null;
  grants: { id: string; holder: string }[];
  publicKeys: string[];
  /** When the last of their JWTs ends by itself, in unix ms; null for never. The broker need not remember them longer. */
  until: number | null;
  /** Used by all of them in their window. */
  used: Amounts;
}

export interface Credential {
  jwt: string;
  grant: Grant;
}

const REVOCATION = "revoking.";
const REVISION = "revision";
/** Revisions are taken from the bucket by so many. */
const BLOCK = 64;

export interface RegistrarOptions {
  grants: Bucket<SignedGrant>;
  /** Bucket `ledger`: also holds the last revision and the revocations under way. */
  records: Bucket<unknown>;
  ledger: Ledger;
  minter: Minter;
  /** Unix ms. */
  now?: () => number;
}

/** What a holder without a grant is told. */
export function noGrant(holder: string): SomaError {
  return new SomaError("EPERM", `"${holder}" has no grant: soma app grant ${holder} --call <service.call>`);
}

/** A run of an app lasts so long at most: then the broker may forget that its key was revoked. */
const RUN_MS = 7 * 24 * 3600_000;

/** One change at a time. Order within each: what takes rights away is written first, what gives them last. */
export class Registrar {
  /** Holder -> grant. */
  private readonly grants = new Map<string, Grant>();
  private readonly ids = new Map<string, Grant>();
  /** Grants that are being taken back: nothing is leased on them any more, or it would escape the final account. */
  private readonly closing = new Set<string>();
  /** Grants whose record may be in the bucket or not: the word of it was lost, and nobody has their JWT. */
  private readonly doubtful = new Set<string>();
  private readonly revocations = new Map<string, Revocation>();
  private readonly turns = new Serial();
  private revision = 0;
  private reserved = 0;
  private readonly now: () => number;

  private constructor(private readonly options: RegistrarOptions) {
    this.now = options.now ?? Date.now;
  }

  /** Reads what is there and finishes what a crash cut short, except for the broker's part: see `unfinished`. */
  static async open(options: RegistrarOptions): Promise<Registrar> {
    const registrar = new Registrar(options);
    for (const { key, value } of await options.grants.entries()) {
      const grant = readGrant(options.minter.publicKey, value);
      // Services do not honour it either: signed with a former key, perhaps.
      if (grant?.holder === key) registrar.add(grant);
    }
    const last = await options.records.get(REVISION);
    registrar.revision = registrar.reserved = (last?.value as number | undefined) ?? 0;
    for (const { value } of await options.records.entries(`${REVOCATION}*`))
      await registrar.carryOut(value as Revocation);
    return registrar;
  }

  all(): Grant[] {
    return [...this.grants.values()];
  }

  of(holder: string): Grant | undefined {
    const grant = this.grants.get(holder);
    return grant !== undefined && !this.lapsed(grant) && !this.closing.has(grant.id) ? grant : undefined;
  }

  byId(id: string): Grant | undefined {
    return this.ids.get(id);
  }

  /** The JWT that the holder of this key was given. ENOENT when there is no such grant, or none any more. */
  credential(publicKey: string): { holder: string; jwt: string } {
    const grant = this.all().find((candidate) => candidate.publicKey === publicKey);
    if (grant === undefined || this.of(grant.holder) === undefined)
      throw new SomaError("ENOENT", "no grant is held with that key: it was revoked, has expired or never was");
    return { holder: grant.holder, jwt: this.options.minter.jwt(grant) };
  }

  /** What the holder itself may spend of each budget. */
  limits(grant: Grant): Limits {
    return Object.fromEntries(
      BUDGETS.flatMap((budget) => {
        const limit = ownLimit(this.grants.values(), grant, budget);
        return limit === undefined ? [] : [[budget, limit]];
      }),
    );
  }

  /** Gives a grant that comes from a person. One that the holder had before is revoked. */
  give(holder: string, publicKey: string, wanted: Wanted): Promise<{ credential: Credential; replaced?: Revocation }> {
    return this.change(async () => {
      const rights = rootRights(wanted, this.now());
      this.checkHolder(holder, publicKey);
      const former = this.grants.get(holder);
      const replaced = former && (await this.take(former));
      const credential = await this.record({
        ...rights,
        parent: null,
        app: holder,
        holder,
        publicKey,
        ephemeral: false,
      });
      return { credential, ...(replaced ? { replaced } : {}) };
    });
  }

  /** Gives a run of an app what was approved; it dies with the process. EEXIST when the name is taken. */
  admit(app: string, holder: string, publicKey: string, calls: string[], caveats: Caveats): Promise<Credential> {
    return this.change(async () => {
      this.checkHolder(holder, publicKey);
      await this.checkFree(holder);
      const rights = rootRights({ calls, caveats, expiresMs: RUN_MS }, this.now());
      return this.record({ ...rights, parent: null, app, holder, publicKey, ephemeral: true });
    });
  }

  /** Hands a weaker grant on. Its budgets are taken from those of the parent as they are now, spent and leased included. */
  derive(parentHolder: string, holder: string, publicKey: string, wanted: Wanted): Promise<Credential> {
    return this.change(async () => {
      const parent = this.of(parentHolder);
      if (parent === undefined) throw noGrant(parentHolder);
      this.checkHolder(holder, publicKey);
      await this.checkFree(holder);
      const rights = childRights(parent, wanted, this.now());
      const { id, app, ephemeral } = parent;
      const fields = { ...rights, parent: id, app, holder, publicKey, ephemeral };
      return this.record(fields, () => this.checkBudgets(parent, rights));
    });
  }

  /** Takes back a grant and all that came from it; undefined when there is none. Services obey when it resolves. */
  revoke(id: string): Promise<Revocation | undefined> {
    return this.change(async () => {
      const grant = this.byId(id);
      return grant && this.take(grant);
    });
  }

  /** Clears away what has lapsed: its budget returns, and its record goes. The broker needs no word: no JWT of it is good. */
  async sweep(): Promise<void> {
    for (const { id } of this.all().filter((grant) => this.lapsed(grant)))
      await this.change(async () => {
        const grant = this.byId(id);
        if (grant) await this.clear(grant);
      });
  }

  /** Revocations of which the broker does not know yet. */
  unfinished(): Revocation[] {
    return [...this.revocations.values()];
  }

  /** The broker has dropped the keys. */
  async finished(id: string): Promise<void> {
    await this.options.records.del(REVOCATION + id);
    this.revocations.delete(id);
  }

  private change<R>(work: () => Promise<R>): Promise<R> {
    return this.turns.run("grants", work);
  }

  private expired({ expiresAt }: Grant): boolean {
    return expiresAt !== null && expiresAt <= this.now();
  }

  /** Expired, or never handed out. */
  private lapsed(grant: Grant): boolean {
    return this.expired(grant) || this.doubtful.has(grant.id);
  }

  private add(grant: Grant): void {
    this.grants.set(grant.holder, grant);
    this.ids.set(grant.id, grant);
  }

  private checkHolder(holder: string, publicKey: string): void {
    checkAppName(holder);
    checkPublicKey(publicKey);
    // Revoking one would cut off the other: the broker knows keys, not names.
    const other = this.all().find((grant) => grant.publicKey === publicKey);
    if (other) throw new SomaError("EEXIST", `that key is in use by "${other.holder}": make a fresh one`);
  }

  private async checkFree(holder: string): Promise<void> {
    const former = this.grants.get(holder);
    if (former === undefined) return;
    if (!this.lapsed(former))
      throw new SomaError("EEXIST", `"${holder}" has a grant already: revoke it first, or use another name`);
    await this.clear(former);
  }

  private async clear(lapsed: Grant): Promise<void> {
    const { id } = await this.take(lapsed);
    await this.finished(id);
  }

  /** Throws EDQUOT when the parent has used or leased so much already that its window would be overdrawn. */
  private checkBudgets(parent: Grant, { caveats }: Rights): void {
    const limits = this.limits(parent);
    for (const budget of BUDGETS) {
      const [limit, wanted] = [limits[budget], caveats[budget]];
      if (limit === undefined || wanted === undefined) continue;
      const rest = left(this.options.ledger.account(parent.id), budget, limit, this.now());
      if (wanted.amount <= rest) continue;
      const what = `"${parent.holder}" has ${rest} ${budget} left of this window, not ${wanted.amount}`;
      throw new SomaError("EDQUOT", `${what}: hand on fewer, or revoke a child`, { retryable: false });
    }
  }

  /**
   * The last step of giving: once it is in the bucket, services honour it. Its share leaves its parent in the same turn as
   * `check` looks at that one, or a lease could slip in between; and stays away when the word of the write is lost.
   */
  private async record(fields: Omit<Grant, "id" | "revision" | "issuedAt">, check = () => {}): Promise<Credential> {
    const revision = await this.nextRevision();
    const grant: Grant = { ...fields, id: `g${revision}`, revision, issuedAt: this.now() };
    // Before it is recorded: a name that cannot be minted must not hold anything.
    const jwt = this.options.minter.jwt(grant);
    check();
    this.add(grant);
    this.doubtful.add(grant.id);
    await this.options.grants.put(grant.holder, this.options.minter.sign(grant));
    this.doubtful.delete(grant.id);
    return { jwt, grant };
  }

  private async take(grant: Grant): Promise<Revocation> {
    const grants = family(this.grants.values(), grant.id);
    for (const { id } of grants) this.closing.add(id);
    try {
      const ends = grants.map(({ expiresAt }) => expiresAt);
      const revocation = {
        id: grant.id,
        parent: grant.parent,
        grants: grants.map(({ id, holder }) => ({ id, holder })),
        publicKeys: grants.map(({ publicKey }) => publicKey),
        until: ends.includes(null) ? null : Math.max(...(ends as number[])),
        used: this.used(grants),
      };
      await this.options.records.put(REVOCATION + grant.id, revocation);
      await this.carryOut(revocation);
      return revocation;
    } finally {
      for (const { id } of grants) this.closing.delete(id);
    }
  }

  private used(grants: readonly Grant[]): Amounts {
    const used: Amounts = { tokens: 0, deviceMs: 0 };
    for (const grant of grants) {
      const amounts = this.options.ledger.used(grant.id, this.limits(grant));
      for (const budget of BUDGETS) used[budget] += amounts[budget];
    }
    return used;
  }

  /**
   * Every step may be repeated. The parent is charged before its child's share returns to it, or the share could be spent
   * twice; the child's account goes last, for it is what the charge was made from.
   */
  private async carryOut(revocation: Revocation): Promise<void> {
    this.revocations.set(revocation.id, revocation);
    const { ledger, grants } = this.options;
    const parent = revocation.parent === null ? undefined : this.byId(revocation.parent);
    if (parent) await ledger.absorb(parent.id, revocation.id, this.limits(parent), revocation.used);
    for (const { id, holder } of revocation.grants) {
      // The holder may have a later grant by now.
      if (this.grants.get(holder)?.id !== id) continue;
      await grants.del(holder);
      this.grants.delete(holder);
      this.ids.delete(id);
      this.doubtful.delete(id);
    }
    for (const { id } of revocation.grants) await ledger.close(id);
  }

  /** Never given twice, not even after a crash: the bucket is ahead of what was given. */
  private async nextRevision(): Promise<number> {
    if (this.revision === this.reserved) {
      await this.options.records.put(REVISION, this.reserved + BLOCK);
      this.reserved += BLOCK;
    }
    this.revision += 1;
    return this.revision;
  }
}
