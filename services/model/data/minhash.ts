// Owns finding texts that are nearly another one: MinHash signatures, looked up by bands (Broder 1997; Leskovec et al., ch. 3).
import { SomaError } from "../../../kernel/abi/errors.ts";
import { shingles, words } from "./words.ts";

/** Words in a shingle: fewer, and texts with the same words in another order look alike. */
const SHINGLE = 3;
const BANDS = 16;
/** At a similarity of 0.8 a pair shares a band with 0.9998, at 0.5 with 0.64: those are then told apart by the whole signature. */
const ROWS = 4;
const HASHES = BANDS * ROWS;
/** 64 hashes of 16 bits and 16 links: 192 bytes a text, so some 300 MB of tables at the most. */
const TEXTS = 1_000_000;

/** Odd multipliers and offsets of the hash functions: any will do, but always the same. */
const MULTIPLY = Uint32Array.from({ length: HASHES }, (_, i) => mix(2 * i + 1) | 1);
const ADD = Uint32Array.from({ length: HASHES }, (_, i) => mix(2 * i + 2));

export class NearDuplicates {
  private count = 0;
  private signatures = new Uint16Array(1024 * HASHES);
  /** Of each text and band: the text before it in the same chain, or -1. */
  private links = new Int32Array(1024 * BANDS);
  /** A chain's newest entry (text * BANDS + band), by hash; -1 where there is none. */
  private heads = new Int32Array(4096 * BANDS).fill(-1);

  /** `similarity`: texts of which so much is the same, 0..1 (Jaccard, estimated within 0.05), are near. */
  constructor(private readonly similarity: number) {}

  /** Whether a text that was added is near; if none is, this one is added. EINVAL beyond a million. */
  near(text: string): boolean {
    const signature = signatureOf(text);
    const chains = Array.from({ length: BANDS }, (_, band) => bandHash(signature, band));
    const seen = new Set<number>();
    for (const [band, hash] of chains.entries()) {
      for (let at = this.heads[hash & (this.heads.length - 1)]!; at >= 0; at = this.links[at]!) {
        const other = Math.floor(at / BANDS);
        if (at % BANDS !== band || seen.has(other)) continue;
        seen.add(other);
        if (this.alike(signature, other) >= this.similarity) return true;
      }
    }
    this.add(signature, chains);
    return false;
  }

  private alike(signature: Uint16Array, other: number): number {
    let same = 0;
    for (let i = 0; i < HASHES; i++) if (signature[i] === this.signatures[other * HASHES + i]) same += 1;
    return same / HASHES;
  }

  private add(signature: Uint16Array, chains: readonly number[]): void {
    if (this.count === TEXTS)
      throw new SomaError("EINVAL", `near duplicates are found among ${TEXTS} texts: split the data, or use --near 0`);
    if (this.count * HASHES === this.signatures.length) this.grow();
    const text = this.count++;
    this.signatures.set(signature, text * HASHES);
    for (const [band, hash] of chains.entries()) this.link(text * BANDS + band, hash);
  }

  private link(entry: number, hash: number): void {
    const slot = hash & (this.heads.length - 1);
    this.links[entry] = this.heads[slot]!;
    this.heads[slot] = entry;
  }

  private grow(): void {
    const signatures = new Uint16Array(2 * this.signatures.length);
    signatures.set(this.signatures);
    this.signatures = signatures;
    this.links = new Int32Array(2 * this.links.length);
    this.heads = new Int32Array(2 * this.heads.length).fill(-1);
    for (let text = 0; text < this.count; text++) {
      const signature = signatures.subarray(text * HASHES, (text + 1) * HASHES);
      for (let band = 0; band < BANDS; band++) this.link(text * BANDS + band, bandHash(signature, band));
    }
  }
}

/** The least of each hash function over a text's shingles; 16 bits of it are enough to compare (Li and König 2010). */
function signatureOf(text: string): Uint16Array {
  const least = new Uint32Array(HASHES).fill(0xffffffff);
  for (const shingle of shingles(words(text), SHINGLE)) {
    for (let i = 0; i < HASHES; i++) {
      const hash = mix((Math.imul(shingle, MULTIPLY[i]!) + ADD[i]!) >>> 0);
      if (hash < least[i]!) least[i] = hash;
    }
  }
  return Uint16Array.from(least, (hash) => mix(hash));
}

function bandHash(signature: Uint16Array, band: number): number {
  let hash = band;
  for (let row = 0; row < ROWS; row++) hash = mix(Math.imul(hash, 0x01000193) ^ signature[band * ROWS + row]!);
  return hash;
}

/** The end of MurmurHash3 (32 bit): each bit of the input moves each bit of the output. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
