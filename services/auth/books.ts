// Owns auth's records: installed apps, grants, accounts. The buckets are the truth; each change is written before it is answered.
import { randomBytes } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import { checkAppName } from "../../kernel/abi/names.ts";
import { syscall } from "../../kernel/abi/syscalls.ts";
import { readGrant, type SignedGrant } from "../../kernel/ipc/grants.ts";
import type { Kv } from "../../kernel/ipc/store.ts";
import { type Account, type Amounts, fresh, LEASE_MS, reserve, settle } from "./budget.ts";
import { type Caveats, derive, descendants, type Grant } from "./derive.ts";
import { checkUserKey, type Signer } from "./mint.ts";

export interface App {
  app: string;
  needs: string[];
  approved: boolean;
  models?: string[];
}

export interface NewHolder {
  holder: string;
  publicKey: string;
  calls: string[];
  caveats: Caveats;
  expiresMs?: number | undefined;
}

export interface BooksOptions {
  grants: Kv<SignedGrant>;
  ledger: Kv<App | Account>;
  grantKey: string;
  signer: Signer;
  /** Voids keys at the broker, for good. */
  revokeKeys: (publicKeys: string[]) => Promise<void>;
  now?: () => number;
}

/** Ephemeral holders of apps that the kernel runs; it revokes them when the app ends. */
const EPHEMERAL_MS = 30 * 24 * 3600_000;

export class Books {
  readonly apps = new Map<string, App>();
  readonly grants = new Map<string, Grant>();
  private readonly accounts = new Map<string, Account>();
  private last: Promise<unknown> = Promise.resolve();
  private readonly now: () => number;

  private constructor(private readonly options: BooksOptions) {
    this.now = options.now ?? Date.now;
  }

  static async open(options: BooksOptions): Promise<Books> {
    const books = new Books(options);
    for (const { key, value } of await options.ledger.entries()) {
      if (key.startsWith("app.")) books.apps.set(key.slice(4), value as App);
      else if (key.startsWith("account.")) books.accounts.set(key.slice(8), value as Account);
    }
    for (const { key, value } of await options.grants.entries()) {
      const grant = readGrant(options.grantKey, value);
      if (grant?.holder === key) books.grants.set(key, grant);
    }
    return books;
  }

  /** One change at a time: a grant cannot be derived from one that is being revoked. */
  private serial<T>(change: () => Promise<T>): Promise<T> {
    const next = this.last.then(change);
    // Whoever asked hears of the failure; the next change goes on.
    this.last = next.catch(() => {});
    return next;
  }

  install(
    app: string,
    needs: string[],
    models: string[] | undefined,
    approve: boolean,
  ): Promise<App & { added: string[] }> {
    return this.serial(async () => {
      checkAppName(app);
      checkCalls(needs);
      const before = this.apps.get(app);
      const added = needs.filter((call) => !before?.needs.includes(call));
      // What was approved stays so only while nothing is added.
      const approved = approve || (before?.approved === true && added.length === 0);
      const entry: App = { app, needs, approved, ...(models ? { models } : {}) };
      if (JSON.stringify(before) !== JSON.stringify(entry)) await this.putApp(entry);
      return { ...entry, added };
    });
  }

  approve(name: string): Promise<App> {
    return this.serial(async () => {
      const app = { ...this.app(name), approved: true };
      await this.putApp(app);
      return app;
    });
  }

  /** A fresh identity for a run of an approved app. */
  admit(name: string, holder: string, publicKey: string): Promise<{ jwt: string; grant: Grant }> {
    return this.serial(async () => {
      const app = this.app(name);
      if (!app.approved)
        throw new SomaError("EPERM", `${name} asks for ${app.needs.join(", ")}: soma app approve ${name}`);
      return this.write(
        name,
        {
          holder,
          publicKey,
          calls: app.needs,
          caveats: app.models ? { models: app.models } : {},
          expiresMs: EPHEMERAL_MS,
        },
        { parent: null, depth: 0, ephemeral: true },
      );
    });
  }

  /** Rights for a holder of the person's choice. An earlier grant of that holder, and all below it, end. */
  grant(wish: NewHolder): Promise<{ jwt: string; grant: Grant }> {
    return this.serial(async () => {
      const before = this.grants.get(checkAppName(wish.holder));
      if (before !== undefined) await this.remove(descendants(this.grants.values(), before));
      return this.write(wish.holder, wish, { parent: null, depth: 0, ephemeral: false });
    });
  }

  /** A weaker grant for a child of `caller`. */
  derive(caller: string, wish: NewHolder): Promise<{ jwt: string; grant: Grant }> {
    return this.serial(async () => {
      const parent = this.grants.get(caller);
      if (parent === undefined) throw new SomaError("EPERM", `"${caller}" has no grant to hand on`);
      if (this.grants.has(wish.holder))
        throw new SomaError("EEXIST", `"${wish.holder}" has a grant: choose another name`);
      const expiresAt = wish.expiresMs === undefined ? null : this.now() + wish.expiresMs;
      const child = derive(parent, { calls: wish.calls, caveats: wish.caveats, expiresAt });
      const expiresMs = child.expiresAt === null ? undefined : child.expiresAt - this.now();
      return this.write(
        parent.app,
        { ...wish, caveats: child.caveats, expiresMs },
        { parent: parent.id, depth: child.depth, ephemeral: parent.ephemeral },
      );
    });
  }

  /** Ends a grant and all below it. Apps may end what they derived, and their own. */
  revoke(
    caller: string | undefined,
    which: { id?: string | undefined; holder?: string | undefined },
  ): Promise<string[]> {
    return this.serial(async () => {
      const root = [...this.grants.values()].find(({ id, holder }) => id === which.id || holder === which.holder);
      if (root === undefined) return [];
      if (caller !== undefined) {
        const own = this.grants.get(caller);
        if (own === undefined || !descendants(this.grants.values(), own).includes(root)) {
          throw new SomaError(
            "EPERM",
            `"${caller}" did not hand out the grant of "${root.holder}": it may revoke what it derived`,
          );
        }
      }
      const all = descendants(this.grants.values(), root);
      await this.remove(all);
      return all.map(({ id }) => id);
    });
  }

  async forget(name: string): Promise<string[]> {
    return this.serial(async () => {
      const all = [...this.grants.values()].filter(({ app }) => app === name);
      await this.remove(all);
      await this.options.ledger.del(`app.${name}`);
      this.apps.delete(name);
      return all.map(({ id }) => id);
    });
  }

  /** Leases a slice of the holder's budget, and of every budget above it. */
  reserve(holder: string, amounts: Amounts): Promise<{ lease: string; expiresMs: number }> {
    return this.serial(async () => {
      const lease = randomBytes(8).toString("hex");
      const expiresAt = this.now() + LEASE_MS;
      const changed = new Map<string, Account>();
      for (const grant of this.line(holder)) {
        const account = this.accounts.get(grant.holder) ?? fresh(this.now());
        changed.set(
          grant.holder,
          reserve(account, grant.caveats, { id: lease, holder: grant.holder, amounts, expiresAt }, this.now()),
        );
      }
      await this.putAccounts(changed);
      return { lease, expiresMs: LEASE_MS };
    });
  }

  settle(lease: string, used: Amounts): Promise<void> {
    return this.serial(async () => {
      const changed = new Map<string, Account>();
      for (const [holder, account] of this.accounts) {
        if (account.leases.some(({ id }) => id === lease)) changed.set(holder, settle(account, lease, used));
      }
      await this.putAccounts(changed);
    });
  }

  /** A holder's grant and those above it. */
  private line(holder: string): Grant[] {
    const byId = new Map([...this.grants.values()].map((grant) => [grant.id, grant]));
    const line: Grant[] = [];
    for (let grant = this.grants.get(holder); grant; grant = byId.get(grant.parent ?? "")) line.push(grant);
    return line;
  }

  private app(name: string): App {
    const app = this.apps.get(name);
    if (app === undefined) throw new SomaError("ENOENT", `no app "${name}" is installed: soma run ${name}`);
    return app;
  }

  private async write(
    app: string,
    wish: NewHolder,
    rest: Pick<Grant, "parent" | "depth" | "ephemeral">,
  ): Promise<{ jwt: string; grant: Grant }> {
    checkAppName(wish.holder);
    checkCalls(wish.calls);
    const now = this.now();
    const grant: Grant = {
      id: randomBytes(8).toString("hex"),
      app,
      holder: wish.holder,
      publicKey: checkUserKey(wish.publicKey),
      calls: [...new Set(wish.calls)],
      caveats: wish.caveats,
      revision: 1,
      issuedAt: now,
      expiresAt: wish.expiresMs === undefined ? null : now + wish.expiresMs,
      ...rest,
    };
    // Services know the grant before its holder can connect: the record first, then the JWT.
    await this.options.grants.put(grant.holder, this.options.signer.sign(grant));
    this.grants.set(grant.holder, grant);
    return { jwt: this.options.signer.jwt(grant), grant };
  }

  /** Keys at the broker first: a crash after that leaves records of holders who cannot connect, which a repeated revoke removes. */
  private async remove(all: readonly Grant[]): Promise<void> {
    if (all.length === 0) return;
    await this.options.revokeKeys(all.map(({ publicKey }) => publicKey));
    for (const { holder } of all) {
      await this.options.grants.del(holder);
      this.grants.delete(holder);
    }
  }

  private async putApp(app: App): Promise<void> {
    await this.options.ledger.put(`app.${app.app}`, app);
    this.apps.set(app.app, app);
  }

  private async putAccounts(changed: ReadonlyMap<string, Account>): Promise<void> {
    for (const [holder, account] of changed) {
      await this.options.ledger.put(`account.${holder}`, account);
      this.accounts.set(holder, account);
    }
  }
}

/** EINVAL for what is no call, EPERM for what no app may ever hold. */
function checkCalls(calls: readonly string[]): void {
  for (const call of calls) {
    const entry = syscall(...(call.split(".") as [string, string]));
    if (entry === undefined) throw new SomaError("EINVAL", `there is no call ${call}: see docs/syscalls.md`);
    if (entry.right !== "app") throw new SomaError("EPERM", `${call} is for ${entry.right}s: no app can hold it`);
  }
}
