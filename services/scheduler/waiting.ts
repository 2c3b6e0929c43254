// Owns the sequences that are on no device, in an order for each model and each device or part that they are pinned to.
import { Order } from "./order.ts";
import { partName } from "./parts.ts";
import { POLICY, type PolicyName } from "./policies.ts";
import type { Sequence } from "./sequence.ts";
import type { Slot } from "./slot.ts";

export class Waiting implements Iterable<Order<Sequence>> {
  private readonly orders = new Map<string, Order<Sequence>>();

  constructor(private readonly policy: () => PolicyName) {}

  [Symbol.iterator](): Iterator<Order<Sequence>> {
    return this.orders.values();
  }

  /** The order that a sequence waits in. */
  for({ input, pin }: Pick<Sequence, "input" | "pin">): Order<Sequence> {
    const key = keyOf(input.model, pin);
    let order = this.orders.get(key);
    if (order === undefined) {
      order = new Order(POLICY[this.policy()]);
      this.orders.set(key, order);
    }
    return order;
  }

  /** Orders of those that may run on a slot. */
  at({ device, part, model }: Slot): Order<Sequence>[] {
    const pins = new Set([undefined, device, partName(device, part)]);
    return [...pins].flatMap((pin) => this.orders.get(keyOf(model, pin)) ?? []);
  }

  /** Whether any waits for a model at exactly this device or part. */
  anyFor(model: string, pin: string): boolean {
    return this.orders.get(keyOf(model, pin))?.first !== undefined;
  }
}

function keyOf(model: string, pin: string | undefined): string {
  return pin === undefined ? model : `${model} on ${pin}`;
}
