// Owns turning bytes that arrive in pieces into text.
import { SomaError } from "../../../kernel/abi/errors.ts";

/** The text of pieces that may end inside a character. EINVAL for what is not UTF-8; `name` is what errors call it. */
export async function* decodeText(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const piece of pieces) yield decoder.decode(piece, { stream: true });
    yield decoder.decode();
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new SomaError("EINVAL", `${name}: not UTF-8: save the file as UTF-8`, { cause });
  }
}
