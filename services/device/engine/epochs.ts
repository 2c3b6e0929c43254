// Owns the order in which examples are seen. An epoch has as many draws as there are examples; an example of weight w gets
// w / mean(w) of them on average, rounded so that no example is left out by bad luck for long, in shuffled order.
import { Random, type RandomState } from "./random.ts";

export interface EpochsState {
  /** The generator as it was when the current epoch was drawn. */
  random: RandomState;
  epoch: number;
  /** Draws already taken from the current epoch. */
  at: number;
}

export class Epochs {
  private random: Random;
  private start: RandomState;
  private order: Int32Array;
  private epoch = 0;
  private at = 0;

  /** `weights` are relative, at least one above 0. */
  constructor(
    private readonly weights: Float32Array,
    from: number | EpochsState,
  ) {
    this.random = new Random(typeof from === "number" ? from : from.random);
    this.start = this.random.state();
    this.order = this.draw();
    if (typeof from !== "number") {
      this.epoch = from.epoch;
      this.at = from.at;
    }
  }

  /** The next `count` example numbers. */
  next(count: number): Int32Array {
    return Int32Array.from({ length: count }, () => {
      if (this.at === this.order.length) {
        this.start = this.random.state();
        this.order = this.draw();
        this.epoch++;
        this.at = 0;
      }
      return this.order[this.at++]!;
    });
  }

  state(): EpochsState {
    return { random: this.start, epoch: this.epoch, at: this.at };
  }

  // Systematic resampling: example i gets the whole numbers that its stretch of the summed weights covers.
  private draw(): Int32Array {
    const n = this.weights.length;
    const scale = n / this.weights.reduce((sum, weight) => sum + weight, 0);
    const order = new Int32Array(n);
    let reached = this.random.uniform();
    let filled = 0;
    for (let i = 0; i < n; i++) {
      reached += this.weights[i]! * scale;
      while (filled < n && filled + 1 <= reached) order[filled++] = i;
    }
    // Rounding may leave the last draw open.
    while (filled < n) order[filled++] = this.weights.findLastIndex((weight) => weight > 0);
    for (let i = n - 1; i > 0; i--) {
      const j = this.random.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
