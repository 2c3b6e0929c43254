// The journal of leased slices, which a successor charges: budgets alone, over an auth and a bucket that are objects.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Budgets } from "../../../services/scheduler/budgets.ts";
import type { Amounts } from "../../../services/scheduler/quota.ts";

test("a call that ends while the journal is written does not make those beside it write for ever", async () => {
  const puts: number[] = [];
  let written: () => void = () => {};
  const budgets = new Budgets({
    client: {
      call: async (_name: string, { lease, tokens, deviceMs }: Amounts & { lease: string }) => ({
        lease: `g.${lease}`,
        tokens,
        deviceMs,
        expiresMs: 60_000,
      }),
    } as never,
    grants: { byId: () => ({ id: "g", holder: "ann", caveats: { tokens: { amount: 1_000, windowMs: 1 } } }) as never },
    journal: {
      put: async (_lease: string, { tokens }: Amounts) => {
        puts.push(tokens);
        assert.ok(puts.length < 10, `it goes on and on: ${puts}`);
        if (puts.length === 2) await new Promise<void>((resolve) => (written = resolve));
      },
    } as never,
    name: "s-1",
    log: { warn: () => {} } as never,
    crash: (error) => assert.unreachable(String(error)),
  });
  const first = budgets.admit("a", { principal: "ann", grant: "g" }, "m", 20);
  // The first write says that the slice is there, the second what the first call may use of it.
  while (puts.length < 2) await new Promise((resolve) => setImmediate(resolve));
  const second = budgets.admit("b", { principal: "ann", grant: "g" }, "m", 30);
  await new Promise((resolve) => setImmediate(resolve));
  budgets.ended("a");
  written();
  await Promise.all([first, second]);
  assert.equal(puts, [0, 20, 30], "what is in use now is in the journal");
});

test.run();
