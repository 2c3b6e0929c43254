// Owns the order of sequences under a policy: a heap of apps, each with a heap of its sequences. O(log n) for each change.
import { Heap } from "./heap.ts";
import type { Candidate, Policy, Share } from "./policies.ts";

export interface Ordered extends Candidate {
  account: Share;
}

interface Item<E> {
  entry: E;
  own: number;
}

interface App<E> {
  rank: number;
  items: Heap<Item<E>>;
}

export class Order<E extends Ordered> {
  private readonly apps = new Map<Share, App<E>>();
  private readonly items = new Map<E, Item<E>>();
  private readonly heap = new Heap<App<E>>((a, b) => {
    if (a.rank !== b.rank) return a.rank < b.rank;
    return a.items.first!.entry.arrival < b.items.first!.entry.arrival;
  });

  constructor(private policy: Policy) {}

  get size(): number {
    return this.items.size;
  }

  /** In no order. */
  values(): Iterable<E> {
    return this.items.keys();
  }

  /** The one to go first. */
  get first(): E | undefined {
    return this.heap.first?.items.first?.entry;
  }

  add(entry: E): void {
    let app = this.apps.get(entry.account);
    if (app === undefined) {
      const items = new Heap<Item<E>>((a, b) => (a.own !== b.own ? a.own < b.own : a.entry.arrival < b.entry.arrival));
      app = { rank: 0, items };
      this.apps.set(entry.account, app);
    }
    const item = { entry, own: this.policy(entry, entry.account).own };
    app.items.push(item);
    this.items.set(entry, item);
    this.rankApp(entry.account, app);
  }

  delete(entry: E): boolean {
    const item = this.items.get(entry);
    if (item === undefined) return false;
    this.items.delete(entry);
    const app = this.apps.get(entry.account)!;
    // An app without sequences leaves before its heap is empty: the order looks at its first one.
    if (app.items.size === 1) {
      this.heap.delete(app);
      this.apps.delete(entry.account);
    } else {
      app.items.delete(item);
      this.rankApp(entry.account, app);
    }
    return true;
  }

  /** To be called when an app's share changed. */
  touch(account: Share): void {
    const app = this.apps.get(account);
    if (app) this.rankApp(account, app);
  }

  /** Orders everything anew. */
  use(policy: Policy): void {
    const entries = [...this.items.keys()];
    for (const entry of entries) this.delete(entry);
    this.policy = policy;
    for (const entry of entries) this.add(entry);
  }

  private rankApp(account: Share, app: App<E>): void {
    app.rank = this.policy(app.items.first!.entry, account).app;
    if (this.heap.has(app)) this.heap.fix(app);
    else this.heap.push(app);
  }
}

/** The order whose first one goes before those of the others. */
export function foremost<E extends Ordered>(policy: Policy, orders: readonly Order<E>[]): Order<E> | undefined {
  let best: Order<E> | undefined;
  for (const order of orders)
    if (order.first && (best === undefined || goesBefore(policy, order.first, best.first!))) best = order;
  return best;
}

/** Whether `a` goes before `b`, which may be in another order. */
export function goesBefore(policy: Policy, a: Ordered, b: Ordered): boolean {
  const [x, y] = [policy(a, a.account), policy(b, b.account)];
  if (x.app !== y.app) return x.app < y.app;
  if (a.account === b.account && x.own !== y.own) return x.own < y.own;
  return a.arrival < b.arrival;
}
