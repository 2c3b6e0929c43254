// Owns tokens on their way to the model instance that asked: coalesced per tick, positions counted from the first new token.

export interface Piece {
  pos: number;
  ids: number[];
  logprobs?: number[];
  top?: Top[];
}
type Top = { id: number; logprob: number }[];

/** A tick is short to a reader and long to the bus. */
export const TICK_MS = 16;

export class Outbox {
  private readonly pieces = new Map<string, Piece>();
  private last = Number.NEGATIVE_INFINITY;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly publish: (to: string, piece: Piece) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** `pos` follows the last one of the same receiver, unless that was sent already. */
  add(to: string, pos: number, id: number, logprob?: number, top?: Top): void {
    const piece = this.pieces.get(to) ?? { pos, ids: [] };
    piece.ids.push(id);
    if (logprob !== undefined) {
      piece.logprobs ??= [];
      piece.logprobs.push(logprob);
    }
    if (top !== undefined) {
      piece.top ??= [];
      piece.top.push(top);
    }
    this.pieces.set(to, piece);
  }

  /** Sends at once when the last time is a tick ago or `urgent`, else at the end of the tick. */
  ripe(urgent: boolean): void {
    const wait = this.last + TICK_MS - this.now();
    if (urgent || wait <= 0) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), wait);
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = this.now();
    for (const [to, piece] of this.pieces) this.publish(to, piece);
    this.pieces.clear();
  }
}
