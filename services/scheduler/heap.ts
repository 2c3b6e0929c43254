// Owns a binary heap whose items may change their order and leave: every operation is O(log n).

export class Heap<T> {
  private readonly items: T[] = [];
  private readonly places = new Map<T, number>();

  constructor(private readonly before: (a: T, b: T) => boolean) {}

  get size(): number {
    return this.items.length;
  }

  get first(): T | undefined {
    return this.items[0];
  }

  has(item: T): boolean {
    return this.places.has(item);
  }

  push(item: T): void {
    if (this.places.has(item)) throw new Error("the item is in the heap already");
    this.items.push(item);
    this.places.set(item, this.items.length - 1);
    this.rise(this.items.length - 1);
  }

  /** Restores the order after `item` has changed. */
  fix(item: T): void {
    const place = this.places.get(item);
    if (place === undefined) throw new Error("the item is not in the heap");
    this.sink(this.rise(place));
  }

  delete(item: T): boolean {
    const place = this.places.get(item);
    if (place === undefined) return false;
    const last = this.items.pop()!;
    this.places.delete(item);
    if (last !== item) {
      this.items[place] = last;
      this.places.set(last, place);
      this.sink(this.rise(place));
    }
    return true;
  }

  private rise(from: number): number {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.before(this.items[place]!, this.items[parent]!)) break;
      this.swap(place, parent);
      place = parent;
    }
    return place;
  }

  private sink(from: number): void {
    let place = from;
    for (;;) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2]) {
        if (child < this.items.length && this.before(this.items[child]!, this.items[least]!)) least = child;
      }
      if (least === place) return;
      this.swap(place, least);
      place = least;
    }
  }

  private swap(a: number, b: number): void {
    const [x, y] = [this.items[a]!, this.items[b]!];
    this.items[a] = y;
    this.items[b] = x;
    this.places.set(y, a);
    this.places.set(x, b);
  }
}
