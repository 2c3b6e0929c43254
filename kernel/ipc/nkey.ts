// Owns nkeys: Ed25519 keys in the broker's text form (base32 of prefix, 32 bytes, CRC-16), on node:crypto.
import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from "node:crypto";

/** Kind -> the five-bit letter that a public key of this kind starts with. */
const KINDS = { operator: 14, account: 0, user: 20 } as const;
export type KeyKind = keyof typeof KINDS;

const SEED = 18;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** DER before the 32 raw bytes of an Ed25519 key. */
const PRIVATE_DER = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_DER = Buffer.from("302a300506032b6570032100", "hex");

/** Base32 of RFC 4648 without padding. */
export function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >>> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? text + ALPHABET[(held << (5 - bits)) & 31] : text;
}

function unbase32(text: string): Buffer {
  const bytes: number[] = [];
  let bits = 0;
  let held = 0;
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) throw new Error("not an nkey: letters A-Z and 2-7 only");
    held = (held << 5) | value;
    if ((bits += 5) >= 8) bytes.push((held >>> (bits -= 8)) & 255);
    held &= (1 << bits) - 1;
  }
  // Left-over bits are zero, so that each key has one text only.
  if (held !== 0) throw new Error("not an nkey: wrong last letter");
  return Buffer.from(bytes);
}

/** CRC-16/XMODEM, which nkeys end with in little-endian order. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
  }
  return crc;
}

function toText(prefix: number[], raw: Uint8Array): string {
  const body = Buffer.from([...prefix, ...raw]);
  const crc = crc16(body);
  return base32(Buffer.from([...body, crc & 255, crc >> 8]));
}

/** Prefix and key bytes; throws when the length or the checksum is wrong. */
function fromText(text: string, prefixLength: number): { prefix: Buffer; raw: Buffer } {
  const bytes = unbase32(text);
  const body = bytes.subarray(0, -2);
  if (body.length !== prefixLength + 32) throw new Error("not an nkey: wrong length");
  if (crc16(body) !== bytes.readUInt16LE(body.length)) throw new Error("not an nkey: wrong checksum");
  return { prefix: body.subarray(0, prefixLength), raw: body.subarray(prefixLength) };
}

function kindOf(code: number): KeyKind {
  for (const [kind, letter] of Object.entries(KINDS)) if (letter === code) return kind as KeyKind;
  throw new Error(`not an operator's, account's or user's key (prefix ${code})`);
}

export interface KeyPair {
  kind: KeyKind;
  /** 56 letters: O... operator, A... account, U... user. */
  publicKey: string;
  /** 58 letters, SO... SA... SU...: the secret. */
  seed: string;
  sign(bytes: Uint8Array): Buffer;
}

/** `secret`: the 32 bytes that an Ed25519 key is made from (RFC 8032, section 5.1.5). */
function pair(kind: KeyKind, secret: Uint8Array): KeyPair {
  const key = createPrivateKey({ key: Buffer.concat([PRIVATE_DER, secret]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const code = KINDS[kind] << 3;
  return {
    kind,
    publicKey: toText([code], spki.subarray(PUBLIC_DER.length)),
    seed: toText([(SEED << 3) | (code >> 5), (code & 31) << 3], secret),
    sign: (bytes) => sign(null, bytes, key),
  };
}

/**
 * A fresh key from the system's random source. Not by generateKeyPairSync: in Node 20 a collection during the export of
 * such a key frees its generator, which waits for the lock that the export holds, for ever.
 */
export function createKey(kind: KeyKind): KeyPair {
  return pair(kind, randomBytes(32));
}

/** The key of a seed; throws when `seed` is none. */
export function keyFromSeed(seed: string): KeyPair {
  const { prefix, raw } = fromText(seed.trim(), 2);
  const [first, second] = [prefix[0]!, prefix[1]!];
  if (first >> 3 !== SEED) throw new Error("not a seed: seeds start with S");
  return pair(kindOf((((first & 7) << 5) | (second >> 3)) >> 3), raw);
}

/** The kind of a public key; throws when `publicKey` is none. */
export function publicKeyKind(publicKey: string): KeyKind {
  return kindOf(fromText(publicKey, 1).prefix[0]! >> 3);
}

/** True if `signature` of `bytes` was made with the secret half of `publicKey`. */
export function verifySignature(publicKey: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  const der = Buffer.concat([PUBLIC_DER, fromText(publicKey, 1).raw]);
  return verify(null, bytes, createPublicKey({ key: der, format: "der", type: "spki" }), signature);
}
