// Owns the way from ids back to text while they are still arriving.
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Ids in, text out, never half a character: bytes of an unfinished one wait for the next id. The pieces, joined with
 * `flush`, are the whole decoded text, however the ids were cut. Special tokens give nothing unless `specials`.
 */
export class Detokenizer {
  private readonly utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  private atStart = true;
  private readonly tokenizer: Pick<Tokenizer, "bytesOf" | "isSpecial" | "dropsLeadingSpace">;
  private readonly specials: boolean;

  constructor(
    tokenizer: Pick<Tokenizer, "bytesOf" | "isSpecial" | "dropsLeadingSpace">,
    { specials = false }: { specials?: boolean } = {},
  ) {
    this.tokenizer = tokenizer;
    this.specials = specials;
  }

  push(ids: Iterable<number>): string {
    let text = "";
    for (const id of ids) {
      if (!this.specials && this.tokenizer.isSpecial(id)) continue;
      text += this.utf8.decode(this.strip(this.tokenizer.bytesOf(id)), { stream: true });
    }
    return text;
  }

  /** The end of the ids: what is left of an unfinished character, as U+FFFD. The next push starts a new text. */
  flush(): string {
    this.atStart = true;
    return this.utf8.decode();
  }

  private strip(bytes: Uint8Array): Uint8Array {
    if (!this.atStart || bytes.length === 0) return bytes;
    this.atStart = false;
    return this.tokenizer.dropsLeadingSpace && bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
  }
}
