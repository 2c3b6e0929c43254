import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  begin,
  type Call,
  depart,
  emptySlice,
  end,
  fits,
  inUse,
  land,
  ZERO,
} from "../../../services/scheduler/quota.ts";

const tokens = (n: number) => ({ tokens: n, deviceMs: n });
const step = fc.oneof(
  fc.record({ do: fc.constant("begin" as const), n: fc.nat(40) }),
  fc.record({ do: fc.constantFrom("depart" as const, "end" as const, "lost" as const), n: fc.nat(9) }),
  fc.record({ do: fc.constant("land" as const), n: fc.nat(9), computed: fc.nat(60) }),
);

test("whatever calls do and however they end, no more tokens are in use than are held, and nothing stays set aside", () => {
  fc.assert(
    fc.property(fc.nat(300), fc.array(step, { maxLength: 80 }), (held, steps) => {
      const slice = emptySlice({ tokens: held, deviceMs: 1e9 });
      const calls: Call[] = [];
      const within = () => assert.ok(inUse(slice).tokens <= held && slice.reserved.tokens >= 0);
      for (const one of steps) {
        const call = calls[one.n % Math.max(1, calls.length)];
        if (one.do === "begin") {
          if (fits(slice, tokens(one.n))) calls.push(begin(slice, tokens(one.n)));
        } else if (call !== undefined) {
          // The board forgets a call with its end: no quantum names it after.
          if (one.do === "depart") {
            if (!call.over) depart(call);
          } else if (one.do === "end") end(call);
          else if (call.flights > 0) land(call, one.do === "land" ? tokens(one.computed) : ZERO);
        }
        within();
      }
      for (const call of calls) {
        end(call);
        while (call.flights > 0) land(call, tokens(1));
      }
      within();
      assert.equal([slice.reserved, slice.calls], [ZERO, 0]);
      const used = calls.reduce((sum, call) => sum + Math.min(call.used.tokens, call.worst.tokens), 0);
      assert.is(slice.spent.tokens, used, "just what was computed, up to what was set aside");
    }),
    { numRuns: 2_000 },
  );
});

test("a call that is canceled while a device computes for it is charged once that has come back", () => {
  const slice = emptySlice(tokens(100));
  const call = begin(slice, tokens(60));
  depart(call);
  end(call);
  assert.is(inUse(slice).tokens, 60);
  assert.not.ok(fits(slice, tokens(41)));
  land(call, tokens(25));
  assert.equal([slice.spent.tokens, slice.reserved.tokens], [25, 0]);
});

test.run();
