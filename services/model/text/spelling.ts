// Owns the file from which devices know what ids spell: for each id u16 length (little-endian) and bytes; 0 for those that are no text.
import { createHash } from "node:crypto";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tokenizer } from "./tokenizer.ts";

export interface Spelling {
  path: string;
  bytes: number;
  sha256: string;
}

/** Writes it into a model's folder. The same tokenizer gives the same bytes, so whoever reads it meanwhile reads the same. */
export async function writeSpelling(dir: string, tokenizer: Tokenizer): Promise<Spelling> {
  const pieces: Uint8Array[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const text = tokenizer.isSpecial(id) ? new Uint8Array() : tokenizer.bytesOf(id);
    pieces.push(Uint8Array.of(text.length & 255, text.length >>> 8), text);
  }
  const bytes = Buffer.concat(pieces);
  const path = join(dir, "spelling.bin");
  const partial = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  await writeFile(partial, bytes);
  await rename(partial, path);
  return { path, bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}
