import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Code, isSomaError, SomaError } from "../../../kernel/abi/errors.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { left } from "../../../services/auth/account.ts";
import { Ledger } from "../../../services/auth/ledger.ts";
import { minter } from "../../../services/auth/mint.ts";
import { Registrar } from "../../../services/auth/registrar.ts";
import type { Wanted } from "../../../services/auth/tree.ts";
import { Crash, Disk } from "./bucket.ts";

const DAY = 24 * 3600_000;
const secrets = minter({
  account: createKey("account").publicKey,
  appSeed: createKey("account").seed,
  grantSeed: createKey("account").seed,
});
const CALLS = ["model.generate", "auth.derive"];

class Auth {
  readonly disk = new Disk();
  now = 20_000 * DAY;
  registrar!: Registrar;
  ledger!: Ledger;
  private leases = 0;
  private keys = Array.from({ length: 64 }, () => createKey("user").publicKey);

  /** As after a crash: nothing but the disk is left. */
  async open(): Promise<this> {
    const records = this.disk.bucket<unknown>("ledger");
    const now = () => this.now;
    this.ledger = await Ledger.open(records, now);
    const grants = this.disk.bucket("grants") as never;
    this.registrar = await Registrar.open({ grants, records, ledger: this.ledger, minter: secrets, now });
    return this;
  }

  key(): string {
    return this.keys.pop() ?? createKey("user").publicKey;
  }

  async reserve(holder: string, amount: number): Promise<{ id: string; tokens: number }> {
    const grant = this.registrar.of(holder)!;
    const wanted = { tokens: amount, deviceMs: 0 };
    const id = `${grant.id}.${this.leases++}`;
    const lease = await this.ledger.reserve(id, holder, this.registrar.limits(grant), wanted);
    return { id, tokens: lease.tokens };
  }

  async settle(lease: string, tokens: number): Promise<void> {
    const grant = this.registrar.byId(lease.split(".")[0]!);
    if (grant) await this.ledger.settle(lease, this.registrar.limits(grant), { tokens, deviceMs: 0 });
  }
}

const wanted = (amount?: number): Wanted => ({
  calls: CALLS,
  caveats: amount === undefined ? {} : { tokens: { amount, windowMs: DAY } },
});

async function refusal(promise: Promise<unknown>, code: Code, message: RegExp): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable("it was not refused"),
    (thrown) => thrown,
  );
  assert.ok(isSomaError(error, code), `${error}`);
  assert.match(error.message, message);
}

test("names and keys are checked before anything is written", async () => {
  const { registrar, disk } = await new Auth().open();
  const key = createKey("user").publicKey;
  for (const name of ["*", "a.b", "person", "kernel", "memory-1", "boot-x", "any", "_INBOX", "a".repeat(33), ">"])
    await refusal(registrar.give(name, key, wanted()), "EINVAL", /choose another name|use 1 to 32/);
  for (const bad of ["", "U", createKey("account").publicKey, createKey("user").seed])
    await refusal(registrar.give("tin", bad, wanted()), "EINVAL", /make a user nkey/);
  await refusal(registrar.give("tin", key, { calls: ["kernel.kill"], caveats: {} }), "EINVAL", /no app can hold/);
  assert.is(disk.stored.size, 0);
  await registrar.give("tin", key, wanted());
  await refusal(registrar.give("tom", key, wanted()), "EEXIST", /in use by "tin".*fresh one/);
});

test("a second grant for a holder ends the first with all that came from it", async () => {
  const auth = await new Auth().open();
  const { registrar } = auth;
  const { credential } = await registrar.give("tin", auth.key(), wanted());
  await registrar.derive("tin", "child", auth.key(), wanted());
  const second = await registrar.give("tin", auth.key(), wanted());
  assert.equal(
    second.replaced?.grants.map(({ holder }) => holder),
    ["tin", "child"],
  );
  assert.ok(second.credential.grant.revision > credential.grant.revision);
  assert.equal(
    registrar.all().map(({ holder }) => holder),
    ["tin"],
  );
  await refusal(registrar.derive("child", "grandchild", auth.key(), wanted()), "EPERM", /"child" has no grant/);
});

test("nobody takes the name of another by deriving, and a run of an app does not take a name in use", async () => {
  const auth = await new Auth().open();
  const { registrar } = auth;
  await registrar.give("tin", auth.key(), wanted());
  await registrar.give("tom", auth.key(), wanted());
  await refusal(registrar.derive("tin", "tom", auth.key(), wanted()), "EEXIST", /another name/);
  await refusal(registrar.admit("tin", "tom", auth.key(), CALLS, {}), "EEXIST", /another name/);
  await refusal(registrar.derive("tin", "tin", auth.key(), wanted()), "EEXIST", /another name/);
});

test("a child's budget is taken from what its parent has left now, and returns less what was used", async () => {
  const auth = await new Auth().open();
  const { registrar } = auth;
  await registrar.give("tin", auth.key(), wanted(100));
  const first = await auth.reserve("tin", 30);
  await refusal(registrar.derive("tin", "child", auth.key(), wanted(71)), "EDQUOT", /has 70 tokens left.*not 71/);
  const { grant } = await registrar.derive("tin", "child", auth.key(), wanted(60));
  assert.is((await auth.reserve("tin", 100)).tokens, 10);
  await auth.settle(first.id, 0);
  const used = await auth.reserve("child", 20);
  await auth.settle(used.id, 15);
  await auth.reserve("child", 5);
  await registrar.revoke(grant.id);
  // 100, less 10 leased, 15 used and 5 leased by the child.
  assert.is((await auth.reserve("tin", 100)).tokens, 70);
});

test("a lease that comes while a grant is derived does not overdraw the parent", async () => {
  for (const write of ["ledger/revision", "grants/child"]) {
    const auth = await new Auth().open();
    const { registrar, ledger, disk } = auth;
    const { grant } = (await registrar.give("tin", auth.key(), wanted(200))).credential;
    // The next revision is taken from the bucket, too.
    while (write === "ledger/revision" && grant.revision + registrar.all().length - 1 < 64)
      await registrar.give(`other${registrar.all().length}`, auth.key(), wanted());
    let lease: Promise<unknown> | undefined;
    disk.onPut = (key) => {
      if (key === write) lease ??= auth.reserve("tin", 180);
    };
    const deriving = registrar.derive("tin", "child", auth.key(), wanted(50));
    if (write === "ledger/revision") await refusal(deriving, "EDQUOT", /20 tokens left/);
    else await deriving;
    await lease;
    const limits = registrar.limits(grant);
    assert.ok(ledger.used(grant.id, limits).tokens <= limits.tokens!.amount, `${write}: overdrawn`);
    assert.ok(lease !== undefined, "a lease was made in between");
  }
});

test("a grant whose record may or may not be there keeps its share until it is swept away", async () => {
  const auth = await new Auth().open();
  const { registrar, disk } = auth;
  const { grant } = (await registrar.give("tin", auth.key(), wanted(200))).credential;
  const left = () => registrar.limits(grant).tokens!.amount;
  disk.onPut = (key) => {
    if (key === "grants/child") throw new SomaError("EIO", "the acknowledgement was lost", { executed: "maybe" });
  };
  await refusal(registrar.derive("tin", "child", auth.key(), wanted(50)), "EIO", /lost/);
  assert.is(left(), 150);
  assert.is(registrar.of("child"), undefined, "nobody was told of it");
  disk.onPut = () => {};
  await registrar.sweep();
  assert.is(left(), 200);
  assert.not.ok(disk.stored.has("grants/child"));
  await registrar.derive("tin", "child", auth.key(), wanted(50));
  assert.is(left(), 150);
});

test("an expired grant holds nothing, its name is free at once, and the sweep gives its budget back", async () => {
  const auth = await new Auth().open();
  const { registrar } = auth;
  await registrar.give("tin", auth.key(), wanted(100));
  const child = () => registrar.derive("tin", "child", auth.key(), { ...wanted(100), expiresMs: 5_000 });
  const { grant } = await child();
  assert.is(grant.expiresAt, auth.now + 5_000);
  await refusal(auth.reserve("tin", 1), "EDQUOT", /has used 0 of its 0 tokens/);
  auth.now += 5_000;
  assert.is(registrar.of("child"), undefined);
  await child();
  auth.now += 5_000;
  await registrar.sweep();
  assert.equal(
    registrar.all().map(({ holder }) => holder),
    ["tin"],
  );
  assert.equal(registrar.unfinished(), []);
  assert.is((await auth.reserve("tin", 100)).tokens, 100);
});

test("a revocation is kept until the broker has dropped the keys, over restarts", async () => {
  const auth = await new Auth().open();
  const { credential } = await auth.registrar.give("tin", auth.key(), wanted());
  const { grant: child } = await auth.registrar.derive("tin", "child", auth.key(), { ...wanted(), expiresMs: 5_000 });
  await auth.registrar.revoke(credential.grant.id);
  await auth.open();
  const [revocation] = auth.registrar.unfinished();
  assert.equal(revocation?.publicKeys, [credential.grant.publicKey, child.publicKey]);
  assert.is(revocation?.until, null);
  await auth.registrar.finished(revocation!.id);
  await auth.open();
  assert.equal(auth.registrar.unfinished(), []);
});

test("a grant that was revoked is never given again under the same id or revision, whatever crashed", async () => {
  const auth = await new Auth().open();
  let last = 0;
  for (let i = 0; i < 150; i++) {
    const { credential } = await auth.registrar.give("tin", auth.key(), wanted());
    assert.ok(credential.grant.revision > last);
    last = credential.grant.revision;
    if (i % 40 === 39) await auth.open();
  }
});

/** One random step. */
type Step = {
  op: "give" | "derive" | "revoke" | "reserve" | "settle" | "later";
  who: number;
  of: number;
  amount: number;
  crash: number;
};

test("whatever is done and whenever it crashes: children within parents, revoked families gone, no budget overdrawn", async () => {
  const step: fc.Arbitrary<Step> = fc.record({
    op: fc.constantFrom(
      "give",
      "derive",
      "derive",
      "derive",
      "revoke",
      "reserve",
      "reserve",
      "reserve",
      "settle",
      "settle",
      "later",
    ),
    who: fc.integer({ min: 0, max: 6 }),
    of: fc.integer({ min: 0, max: 6 }),
    amount: fc.integer({ min: 1, max: 60 }),
    // The write at which the process dies; mostly none.
    crash: fc.oneof(
      { arbitrary: fc.constant(99), weight: 2 },
      { arbitrary: fc.integer({ min: 0, max: 6 }), weight: 1 },
    ),
  });
  const seen = { derived: 0, crashed: 0, revoked: 0, spent: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const auth = await new Auth().open();
      const name = (i: number) => `h${i}`;
      /** Root holders' budgets are 100 a day; here is what was surely spent of each root's, and what is leased. */
      const spent = new Map<string, number>();
      const leases: { id: string; tokens: number; root: string; until: number }[] = [];
      const revoked = new Set<string>();
      const rootOf = (holder: string): string => {
        let grant = auth.registrar.of(holder)!;
        while (grant.parent !== null) grant = auth.registrar.byId(grant.parent)!;
        return grant.id;
      };
      for (const { op, who, of, amount, crash } of steps) {
        auth.disk.left = crash;
        try {
          if (op === "give") {
            await auth.registrar.give(name(who), auth.key(), wanted(100));
          } else if (op === "derive") {
            await auth.registrar.derive(name(of), name(who), auth.key(), wanted(amount));
            seen.derived += 1;
          } else if (op === "revoke") {
            const grant = auth.registrar.of(name(who));
            const revocation = grant && (await auth.registrar.revoke(grant.id));
            for (const { id } of revocation?.grants ?? []) revoked.add(id);
            seen.revoked += revocation?.grants.length ?? 0;
          } else if (op === "reserve" && auth.registrar.of(name(who))) {
            const root = rootOf(name(who));
            const lease = await auth.reserve(name(who), amount);
            leases.push({ ...lease, root, until: auth.now + 60_000 });
          } else if (op === "settle" && leases.length > 0) {
            const [lease] = leases.splice(amount % leases.length, 1);
            const used = Math.min(lease!.tokens, of * 5);
            await auth.settle(lease!.id, used);
            spent.set(lease!.root, (spent.get(lease!.root) ?? 0) + used);
            seen.spent += used;
          } else if (op === "later") {
            auth.now += 61_000;
          }
        } catch (error) {
          if (error instanceof Crash) seen.crashed += 1;
          else if (!isSomaError(error)) throw error;
          auth.disk.left = Number.POSITIVE_INFINITY;
          if (error instanceof Crash) await auth.open();
        }
        auth.disk.left = Number.POSITIVE_INFINITY;
        // Leases that returned are spent by nobody: their service is dead.
        for (let i = leases.length - 1; i >= 0; i--) if (leases[i]!.until <= auth.now) leases.splice(i, 1);

        const grants = auth.registrar.all();
        for (const grant of grants) {
          if (revoked.has(grant.id)) return false;
          const limit = auth.registrar.limits(grant).tokens!;
          if (limit.amount < 0) return false;
          if (left(auth.ledger.account(grant.id), "tokens", limit, auth.now) > limit.amount) return false;
          if (grant.parent === null) continue;
          const parent = auth.registrar.byId(grant.parent);
          if (parent === undefined || parent.depth !== grant.depth + 1) return false;
        }
        for (const [root, amount] of spent) {
          const leased = leases.reduce((sum, lease) => sum + (lease.root === root ? lease.tokens : 0), 0);
          if (amount + leased > 100) return false;
        }
      }
      // What is in memory is what is on disk.
      const memory = auth.registrar
        .all()
        .map(({ id }) => id)
        .sort();
      await auth.open();
      assert.equal(
        auth.registrar
          .all()
          .map(({ id }) => id)
          .sort(),
        memory,
      );
      return true;
    }),
    { numRuns: 200 },
  );
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 30, `${what} only ${count} times`);
});

test.run();
