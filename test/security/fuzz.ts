// Owns what a hostile app sends: seeded, so that a finding can be had again. Subjects, bodies, headers and names.
import { encode } from "@msgpack/msgpack";
import { callSubjects, otherSubjects } from "./subjects.ts";

export type Random = ReturnType<typeof random>;

/** mulberry32. */
export function random(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
  return { below, pick, bytes: (n: number) => Uint8Array.from({ length: n }, () => below(256)) };
}

/** Strings that mean something to somebody: the bus, a disk, a shell, JavaScript, a terminal. */
const WORDS = [
  "",
  "*",
  ">",
  ".",
  "..",
  "a.b",
  "../../etc/passwd",
  "kernel",
  "person",
  "any",
  "all",
  "auth-1",
  "device-17",
  "victim",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "null",
  "NaN",
  "-1",
  "1e999",
  "0x10",
  "$KV.grants.victim",
  "{{name()}}",
  "%00",
  "\u0000",
  "\u202e",
  "\ud800",
  "💥",
  "中".repeat(40),
  "x".repeat(10_000),
  "\u001b[2J",
  "'; drop",
  "blob:",
  `blob:${"0".repeat(64)}`,
  "tiny@-1",
  "default",
];

/** A subject that nobody meant, or one that is somebody else's. Never with white space: that is a different line to the broker. */
export function subject(r: Random, names: readonly string[]): string {
  const all = r.below(2) ? callSubjects([r.pick(names)]) : otherSubjects([r.pick(names)]);
  const tokens = r.pick(all).split(".");
  for (let i = r.below(3); i > 0; i--) {
    const at = r.below(tokens.length);
    const word = r
      .pick([...WORDS, ...names])
      .replace(/[\s\u0000]/g, "")
      .slice(0, 200);
    if (r.below(4) === 0) tokens.splice(at, 1);
    else if (r.below(3) === 0) tokens.splice(at, 0, word || "x");
    else tokens[at] = word || "x";
  }
  return (
    tokens
      .join(".")
      .replace(/\.{2,}/g, ".")
      .replace(/^\.|\.$/g, "") || "x"
  );
}

const FIELDS = [
  "id",
  "key",
  "model",
  "prompt",
  "holder",
  "publicKey",
  "calls",
  "caveats",
  "seq",
  "data",
  "read",
  "last",
  "value",
  "prefix",
  "size",
];

/** Any value: numbers at their ends, wrong types, names that would reach a prototype, depth and width. */
export function value(r: Random, depth = 0): unknown {
  switch (r.below(depth > 4 ? 6 : 9)) {
    case 0:
      return r.pick(WORDS);
    case 1:
      return r.pick([0, -1, 2 ** 31, 2 ** 53, -(2 ** 53), 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e308, 5e-324]);
    case 2:
      return r.pick([true, false, null, undefined]);
    case 3:
      return r.bytes(r.below(64));
    case 4:
      return new Date(r.below(2 ** 31));
    case 5:
      return r.pick(FIELDS);
    case 6:
      return Array.from({ length: r.below(6) }, () => value(r, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: r.below(6) }, () => [r.pick([...FIELDS, ...WORDS.slice(0, 30)]), value(r, depth + 1)]),
      );
  }
}

const HAS_PROTO = Uint8Array.from([
  0x81,
  0xa9,
  ...Buffer.from("__proto__"),
  0x81,
  0xa8,
  ...Buffer.from("polluted"),
  0xc3,
]);

/** A body: a good one, a spoilt one, or none at all. */
export function body(r: Random): Uint8Array {
  const kind = r.below(12);
  if (kind === 0) return r.bytes(r.below(200));
  if (kind === 1) return HAS_PROTO;
  if (kind === 2) return new Uint8Array(r.below(100_000)).fill(r.pick([0x91, 0x81, 0xdf, 0xdd, 0xc9, 0xc1, 0xff]));
  // A map or an array that claims four thousand million entries.
  if (kind === 3)
    return Uint8Array.from([r.pick([0xdf, 0xdd, 0xdb, 0xc6, 0xc9]), 0xff, 0xff, 0xff, 0xff, ...r.bytes(8)]);
  if (kind === 4 && r.below(20) === 0)
    return encode(Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, i])));
  const bytes = encode(Object.fromEntries(FIELDS.filter(() => r.below(3) === 0).map((field) => [field, value(r)])));
  if (kind === 5) return bytes.subarray(0, r.below(bytes.length + 1));
  if (kind === 6) bytes[r.below(bytes.length)]! ^= 1 << r.below(8);
  return bytes;
}

/** A header's value: what a line of a header can hold. */
const line = (text: string) => text.replace(/[^\x20-\x7e]/g, "?").slice(0, 2_000);

/** Headers over `good` ones, some of them wrong. */
export function headers(r: Random, good: Record<string, string>): Record<string, string> {
  const wrong: Record<string, string[]> = {
    id: ["", "a b", "x".repeat(65), "victim/1", "../x", "same", "same", "__proto__", "toString"],
    ttl: ["-1", "0", "-1e9", "NaN", "soon", "1e999", "0x10", "1e-9", "99999999999999", " 5 "],
    abi: ["2", "-1", "1.5", "one", "01"],
    key: ["", "victim", "x".repeat(2_000), "__proto__"],
    traceparent: [
      "00",
      "garbage",
      `00-${"0".repeat(32)}-${"0".repeat(16)}-00`,
      `00-${"f".repeat(32)}-${"g".repeat(16)}-01`,
      "x".repeat(2_000),
    ],
    for: [
      '{"principal":"victim"}',
      '{"principal":"victim","grant":"g1","revision":1}',
      '{"principal":"person"}',
      "{",
      "[]",
      "null",
      "true",
      '{"__proto__":{"principal":"victim"}}',
      '"victim"',
    ],
    type: ["end", "error", "chunk", "accepted"],
    epoch: ["0", "-1", "999"],
    seq: ["-1", "NaN"],
    "Nats-Stream": ["KV_grants"],
    "Nats-Expected-Stream": ["KV_grants"],
    "Nats-Msg-Id": ["same"],
    "Nats-Rollup": ["all"],
    Status: ["503"],
  };
  const all = { ...good };
  for (const name of Object.keys(wrong)) if (r.below(4) === 0) all[name] = line(r.pick(wrong[name]!));
  if (r.below(10) === 0) all[line(r.pick(["X", "FOR", "For", "Id", "ID"]))] = line(r.pick(WORDS));
  return all;
}

/** A holder's name that must not be minted. */
export function badName(r: Random): string {
  const name = r.pick([
    ...WORDS.filter((word) => !/^[a-z0-9-]{1,32}$/.test(word)),
    "kernel",
    "person",
    "model-1",
    "boot-1",
    "any",
    "sys",
    "auth",
    "device-17",
  ]);
  return r.below(2) ? name : r.pick(["*", ">", "a.", "."]) + name;
}
