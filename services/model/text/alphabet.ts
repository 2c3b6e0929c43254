// Owns GPT-2's byte alphabet: each byte is one printable character, so that a vocabulary of bytes is plain JSON text.

/** Bytes that stand for themselves: printable Latin-1 without the soft hyphen. The others get U+0100 upwards, in order. */
function printable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

let next = 0x100;
/** byte -> character */
export const CHAR_OF_BYTE: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(printable(byte) ? byte : next++),
);

/** character -> byte */
export const BYTE_OF_CHAR: ReadonlyMap<string, number> = new Map(CHAR_OF_BYTE.map((char, byte) => [char, byte]));
