// Owns the tests of what a decision costs: operations are counted, for times say nothing on a busy machine.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { POLICIES } from "../../../kernel/abi/syscalls/scheduler.ts";
import { Heap } from "../../../services/scheduler/heap.ts";
import { Order, type Ordered } from "../../../services/scheduler/order.ts";
import { POLICY } from "../../../services/scheduler/policies.ts";

/** Comparisons for taking the first out and putting it back with another rank. */
function comparisons(size: number): number {
  let count = 0;
  const heap = new Heap<{ rank: number }>((a, b) => {
    count += 1;
    return a.rank < b.rank;
  });
  for (let i = 0; i < size; i++) heap.push({ rank: (i * 7919) % size });
  count = 0;
  for (let i = 0; i < 1_000; i++) {
    const first = heap.first!;
    heap.delete(first);
    heap.push({ rank: first.rank + ((i * 104_729) % size) });
  }
  return count / 1_000;
}

test("a heap compares no more often than a few times the logarithm of its size", () => {
  for (const size of [100, 10_000, 100_000]) {
    const count = comparisons(size);
    assert.ok(count <= 4 * Math.log2(size), `${count} comparisons among ${size}`);
  }
});

/** How often one decision asks the policy, with so many sequences of 50 apps waiting. */
function questions(size: number, name: (typeof POLICIES)[number]): number {
  let count = 0;
  const order = new Order<Ordered>((one, share) => {
    count += 1;
    return POLICY[name](one, share);
  });
  const accounts = Array.from(
    { length: 50 },
    () => ({ virtual: 0, turn: 0, reach: 0 }) as unknown as Ordered["account"],
  );
  for (let i = 0; i < size; i++)
    order.add({
      account: accounts[i % 50]!,
      arrival: i,
      arrivedAt: i,
      deadline: 1e6 - i,
      priority: i % 3,
      served: i % 11,
      turn: i,
    } as Ordered);
  count = 0;
  for (let i = 0; i < 100; i++) {
    const first = order.first!;
    order.delete(first);
    order.add(Object.assign(first, { served: first.served + 8, turn: size + i }));
  }
  return count / 100;
}

test("a decision asks the policy as often with 10,000 in the queue as with 100", () => {
  for (const name of POLICIES) {
    const [few, many] = [questions(100, name), questions(10_000, name)];
    assert.ok(many <= few + 1, `${name}: ${many} against ${few}`);
    assert.ok(many <= 4, `${name}: ${many}`);
  }
});

test.run();
