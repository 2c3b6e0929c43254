// Owns the per-token path of a text: ids by position in, text out; stop strings; what the caller has of it.
import { SomaError } from "../../kernel/abi/errors.ts";
import { Detokenizer } from "./text/detokenize.ts";
import { StopStrings } from "./text/stop.ts";
import type { Call, ToolCalls } from "./text/tools.ts";
import type { TextModel } from "./textmodel.ts";

type Top = readonly (readonly { id: number; logprob: number }[])[];

export interface Piece {
  /** Position of the first id, counted from the first new token. */
  pos: number;
  ids: number[];
  text: string;
  logprobs?: number[];
  /** With logprobs: the text of each id, and the likeliest ids at its place. */
  tokens?: string[];
  topLogprobs?: { id: number; token: string; logprob: number }[][];
  /** With the first chunk: what the rest must be made with to go on exactly. */
  numerics?: string;
}

export class Answer {
  readonly ids: number[] = [];
  text = "";
  /** After `finish`: what it called. */
  calls: readonly Call[] = [];
  /** The stop string that ended it. */
  stopped: string | undefined;
  private readonly tokenizer: TextModel["tokenizer"];
  private readonly letters: Detokenizer;
  private readonly stops: StopStrings;
  private readonly stopIds: ReadonlySet<number>;

  /** `given` ids are what the caller has: the state after them is made again, exactly as it was. */
  constructor(
    { tokenizer, stopIds }: Pick<TextModel, "tokenizer" | "stopIds">,
    stop: readonly string[],
    given: readonly number[] = [],
    private readonly tools?: ToolCalls,
  ) {
    this.tokenizer = tokenizer;
    this.letters = new Detokenizer(tokenizer);
    this.stops = new StopStrings(stop);
    this.stopIds = new Set(stopIds);
    if (given.length > 0) this.push(0, given);
  }

  /**
   * Takes ids from position `pos`; returns what of them is new, or nothing. Positions that are here already come from a
   * sequence that was begun again elsewhere, and are dropped. ESERVICEDOWN when a position is missing: to be resumed.
   */
  push(pos: number, ids: readonly number[], logprobs?: readonly number[], top?: Top): Piece | undefined {
    if (this.stopped !== undefined) return undefined;
    const have = this.ids.length - pos;
    if (have < 0) throw new SomaError("ESERVICEDOWN", `tokens ${this.ids.length} to ${pos - 1} were lost: ask again`);
    const piece: Piece = { pos: this.ids.length, ids: [], text: "" };
    for (const id of ids.slice(have)) {
      piece.ids.push(id);
      // An end is no letter, even where the tokenizer does not call it special.
      const { text, stop } = this.stops.push(this.stopIds.has(id) ? "" : this.letters.push([id]));
      piece.text += this.tools?.push(text) ?? text;
      if (stop === undefined) continue;
      this.stopped = stop;
      break;
    }
    if (piece.ids.length === 0) return undefined;
    if (logprobs) {
      const token = (id: number) => this.tokenizer.decode([id], { specials: true });
      const of = <T>(all: readonly T[]) => all.slice(have, have + piece.ids.length);
      piece.logprobs = of(logprobs);
      piece.tokens = piece.ids.map(token);
      piece.topLogprobs = of(top ?? []).map((best) => best.map((one) => ({ ...one, token: token(one.id) })));
    }
    this.ids.push(...piece.ids);
    this.text += piece.text;
    return piece;
  }

  /** What was held back, at the end: the beginning of a stop string that did not come, half a character. */
  finish(): Piece | undefined {
    const last = this.stopped === undefined ? this.flush() : "";
    const { text, calls } = this.tools?.finish() ?? { text: "", calls: [] };
    this.calls = calls;
    const rest = last + text;
    this.text += rest;
    return rest === "" ? undefined : { pos: this.ids.length, ids: [], text: rest };
  }

  private flush(): string {
    const { text, stop } = this.stops.push(this.letters.flush());
    this.stopped = stop;
    const rest = stop === undefined ? text + this.stops.flush() : text;
    return this.tools?.push(rest) ?? rest;
  }
}
