// Owns what data-parallel workers share: one piece of memory in which gradients are summed, and the flags that steer a run.
import { SomaError } from "../../../kernel/abi/errors.ts";

// Words of the control block.
const arrived = 0;
const generation = 1;
const stop = 2;
const abort = 3;
const pause = 4;
const words = 16;
const numbersEach = 8;

export interface Shared {
  world: number;
  /** Control words, then `numbersEach` f64 for each worker, then a gradient slot for each and one for the sum. */
  buffer: SharedArrayBuffer;
}

/** Bytes that `world` workers share for gradients of `values` floats in all. */
export function sharedBytes(world: number, values: number): number {
  return words * 4 + world * numbersEach * 8 + (world > 1 ? (world + 1) * values * 4 : 0);
}

export function createShared(world: number, values: number): Shared {
  return { world, buffer: new SharedArrayBuffer(sharedBytes(world, values)) };
}

/** The run's flags, for whoever started it. */
export class Control {
  private readonly words: Int32Array;

  constructor(shared: Shared) {
    this.words = new Int32Array(shared.buffer, 0, words);
  }

  /** All workers end after the same step. */
  stop(): void {
    Atomics.store(this.words, stop, 1);
    this.resume();
  }

  /** A worker died: the others must not wait for it. */
  abort(): void {
    Atomics.store(this.words, abort, 1);
    Atomics.notify(this.words, generation);
    this.resume();
  }

  pause(): void {
    Atomics.store(this.words, pause, 1);
  }

  resume(): void {
    Atomics.store(this.words, pause, 0);
    Atomics.notify(this.words, pause);
  }
}

export class Exchange {
  private readonly control: Int32Array;
  private readonly numbers: Float64Array;
  private readonly slots: Float32Array[];
  private readonly total: Float32Array;
  readonly world: number;

  constructor(
    readonly rank: number,
    shared: Shared,
  ) {
    const { world, buffer } = shared;
    this.world = world;
    this.control = new Int32Array(buffer, 0, words);
    this.numbers = new Float64Array(buffer, words * 4, world * numbersEach);
    const begin = words * 4 + world * numbersEach * 8;
    const values = world > 1 ? (buffer.byteLength - begin) / 4 / (world + 1) : 0;
    const slot = (i: number) => new Float32Array(buffer, begin + i * values * 4, values);
    this.slots = Array.from({ length: world }, (_, i) => slot(i));
    this.total = world > 1 ? slot(world) : new Float32Array(0);
  }

  /** Blocks while the run is paused. */
  rest(): void {
    while (Atomics.load(this.control, pause) === 1) Atomics.wait(this.control, pause, 1);
  }

  /** Blocks while the run is paused; says whether it shall stop. */
  stopRequested(): boolean {
    this.rest();
    return Atomics.load(this.control, stop) === 1;
  }

  /**
   * Sums `parts` (all workers give the same lengths) and `numbers` over the workers, in the order of their ranks, so that all
   * get the same bits. The sums are views of shared memory, valid until the next call. Throws ECANCELED if the run is aborted.
   */
  sum(parts: readonly Float32Array[], numbers: readonly number[]): { parts: Float32Array[]; numbers: number[] } {
    if (this.world === 1) return { parts: [...parts], numbers: [...numbers] };
    const mine = this.slots[this.rank]!;
    let filled = 0;
    for (const part of parts) {
      mine.set(part, filled);
      filled += part.length;
    }
    this.numbers.set(numbers, this.rank * numbersEach);
    this.barrier();
    const sums = numbers.map((_, i) => {
      let sum = 0;
      for (let r = 0; r < this.world; r++) sum += this.numbers[r * numbersEach + i]!;
      return sum;
    });
    // Each worker adds up its stretch of all the slots.
    const [from, to] = [this.rank, this.rank + 1].map((r) => Math.floor((filled * r) / this.world)) as [number, number];
    this.total.set(this.slots[0]!.subarray(from, to), from);
    for (const slot of this.slots.slice(1)) for (let i = from; i < to; i++) this.total[i]! += slot[i]!;
    // The second barrier also keeps a fast worker from overwriting what a slow one has not read yet.
    this.barrier();
    let at = 0;
    return { parts: parts.map((part) => this.total.subarray(at, (at += part.length))), numbers: sums };
  }

  private barrier(): void {
    const now = Atomics.load(this.control, generation);
    if (Atomics.add(this.control, arrived, 1) === this.world - 1) {
      Atomics.store(this.control, arrived, 0);
      Atomics.add(this.control, generation, 1);
      Atomics.notify(this.control, generation);
      return;
    }
    while (Atomics.load(this.control, generation) === now) {
      if (Atomics.load(this.control, abort) === 1) {
        throw new SomaError("ECANCELED", "another training worker failed: see its error, then start the job again");
      }
      // The time limit only covers an abort that falls between the check and the wait.
      Atomics.wait(this.control, generation, now, 200);
    }
  }
}

/** Deals examples out to `world` workers so that each gets about the same number of rows; returns the share of `rank`. */
export function deal(
  examples: Int32Array,
  rowsOf: (example: number) => number,
  rank: number,
  world: number,
): Int32Array {
  if (world === 1) return examples;
  const loads = new Array<number>(world).fill(0);
  const shares: number[][] = loads.map(() => []);
  for (const example of [...examples].sort((a, b) => rowsOf(b) - rowsOf(a) || a - b)) {
    const least = loads.indexOf(Math.min(...loads));
    shares[least]!.push(example);
    loads[least]! += rowsOf(example);
  }
  return Int32Array.from(shares[rank]!);
}
