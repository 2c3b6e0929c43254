import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import type { Limits } from "../../../services/auth/account.ts";
import { LEASE_MS } from "../../../services/auth/account.ts";
import { Ledger } from "../../../services/auth/ledger.ts";
import { Crash, Disk } from "./bucket.ts";

const DAY = 24 * 3600_000;
const START = 20_000 * DAY;
const limits: Limits = { tokens: { amount: 1000, windowMs: DAY } };
const tokens = (amount: number) => ({ tokens: amount, deviceMs: 0 });

let leases = 0;
/** A lease of its own for each. */
async function reserve(ledger: Ledger, wanted: { tokens: number; deviceMs: number }) {
  const id = `g1.${leases++}`;
  return { id, lease: await ledger.reserve(id, "tin", limits, wanted) };
}

function setup() {
  const disk = new Disk();
  const clock = { now: START + 1 };
  return { disk, clock, open: () => Ledger.open(disk.bucket("ledger"), () => clock.now) };
}
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => assert.unreachable("it was not refused"),
    (error: SomaError) => error.code,
  );

test("of 50 that reserve at once none gets what another has, and the rest is refused with the time to wait", async () => {
  const { open } = setup();
  const ledger = await open();
  const all = await Promise.allSettled(Array.from({ length: 50 }, () => reserve(ledger, tokens(70))));
  const got = all.flatMap((one) => (one.status === "fulfilled" ? [one.value.lease.tokens] : []));
  assert.is(
    got.reduce((sum, amount) => sum + amount, 0),
    1000,
  );
  assert.is(got.length, 15, "fourteen whole slices and what was left");
  const refused = all.find(({ status }) => status === "rejected") as PromiseRejectedResult;
  assert.is(refused.reason.code, "EDQUOT");
  assert.is(refused.reason.retryAfterMs, DAY - 1);
  assert.match(refused.reason.message, "soma app grant tin --tokens");
});

test("what was not used returns when it is settled, once only", async () => {
  const ledger = await setup().open();
  const { id } = await reserve(ledger, tokens(1000));
  for (let i = 0; i < 2; i++) await ledger.settle(id, limits, tokens(300));
  assert.is((await reserve(ledger, tokens(1000))).lease.tokens, 700);
});

test("leases of whoever died return when they expire, and a late settlement is charged all the same", async () => {
  const { clock, disk, open } = setup();
  const { id } = await reserve(await open(), tokens(1000));
  const ledger = await open();
  assert.is(await refusal(reserve(ledger, tokens(1))), "EDQUOT", "it outlives auth itself");
  clock.now += LEASE_MS;
  assert.is((await reserve(ledger, tokens(100))).lease.tokens, 100);
  await ledger.settle(id, limits, tokens(850));
  assert.is((await reserve(ledger, tokens(100))).lease.tokens, 50);
  clock.now += 11 * 60_000;
  await reserve(ledger, tokens(1));
  const { leases } = (await disk.bucket<{ leases: object }>("ledger").get("spent.g1"))!.value;
  assert.is(Object.keys(leases).length, 1, "old ones are forgotten");
});

test("a new window begins with the whole amount, less what is still leased", async () => {
  const { clock, open } = setup();
  const ledger = await open();
  const { id } = await reserve(ledger, tokens(600));
  await ledger.settle(id, limits, tokens(600));
  clock.now = START + DAY - 1;
  await reserve(ledger, tokens(400));
  clock.now = START + DAY;
  assert.is((await reserve(ledger, tokens(1000))).lease.tokens, 600);
});

test("a budget that nobody limits is leased as asked, and one that is not wanted does not stand in the way", async () => {
  const ledger = await setup().open();
  await reserve(ledger, tokens(1000));
  const { lease } = await reserve(ledger, { tokens: 0, deviceMs: 5000 });
  assert.equal([lease.tokens, lease.deviceMs], [0, 5000]);
});

test("what was answered is on disk, whichever write was the last: nothing that was given is forgotten", async () => {
  for (let writes = 0; writes < 8; writes++) {
    const { disk, open } = setup();
    const ledger = await open();
    disk.left = writes;
    const all = await Promise.allSettled(
      Array.from({ length: 20 }, async (_, i) => {
        for (let turn = 0; turn < i % 3; turn++) await null;
        return reserve(ledger, tokens(40));
      }),
    );
    const given = all.filter(({ status }) => status === "fulfilled").length * 40;
    for (const one of all) if (one.status === "rejected") assert.instance(one.reason, Crash);
    disk.left = Number.POSITIVE_INFINITY;
    const after = await open();
    const rest = (await reserve(after, tokens(1000))).lease.tokens;
    assert.ok(given + rest <= 1000, `${given} given and ${rest} left after ${writes} writes`);
  }
});

test("an account that is closed is gone, though a write was on its way", async () => {
  const { disk, open } = setup();
  const ledger = await open();
  const writes = [1, 2, 3].map(() => reserve(ledger, tokens(1)));
  await ledger.close("g1");
  await Promise.all(writes);
  assert.is(ledger.size, 0);
  assert.equal([...disk.stored.keys()], []);
});

test.run();
