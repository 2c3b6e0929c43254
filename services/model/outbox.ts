// Owns the way of pieces to the caller: those of one tick go as one chunk, and a slow reader gets fewer, larger ones.
import type { Piece } from "./answer.ts";

export class Outbox {
  private waiting: Piece | undefined;
  private sending: Promise<void> | undefined;

  /** `emit` resolves when the reader has room for another chunk. */
  constructor(private readonly emit: (piece: Piece) => Promise<void>) {}

  add(piece: Piece): void {
    const { waiting } = this;
    if (waiting === undefined) this.waiting = piece;
    else {
      waiting.ids.push(...piece.ids);
      waiting.text += piece.text;
      if (piece.numerics !== undefined) waiting.numerics ??= piece.numerics;
      if (piece.logprobs) waiting.logprobs = [...(waiting.logprobs ?? []), ...piece.logprobs];
      if (piece.tokens) waiting.tokens = [...(waiting.tokens ?? []), ...piece.tokens];
      if (piece.topLogprobs) waiting.topLogprobs = [...(waiting.topLogprobs ?? []), ...piece.topLogprobs];
    }
    this.sending ??= this.send();
  }

  /** Resolves when everything was sent. */
  async drain(): Promise<void> {
    await this.sending;
  }

  private async send(): Promise<void> {
    while (this.waiting !== undefined) {
      // The tick: what arrives before it goes along.
      await new Promise((resolve) => setImmediate(resolve));
      const piece = this.waiting;
      this.waiting = undefined;
      await this.emit(piece);
    }
    this.sending = undefined;
  }
}
