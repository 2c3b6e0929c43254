// Makes random JSON Schemas of all that is supported, vocabularies, and judges values by ajv, which knows nothing of us.
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import fc from "fast-check";
import { Vocabulary } from "../../../../services/device/grammar/trie.ts";

type Json = Record<string, unknown>;

/** The file of a vocabulary: for each id its bytes; none for ids that are no text. */
export function vocabularyOf(texts: readonly (string | Uint8Array)[]): Vocabulary {
  const pieces = texts.flatMap((text) => {
    const bytes = Buffer.from(text as string);
    return [Buffer.from([bytes.length & 255, bytes.length >> 8]), bytes];
  });
  return Vocabulary.from(Buffer.concat(pieces));
}

export const BYTES = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

const PATTERNS = [
  "^[A-Z]{2,4}-\\d+$",
  "^(foo|bar)*$",
  "colou?r",
  "^\\S+@\\S+$",
  '^["\\\\\\n\\t]{1,3}$',
  "^[^a-z]*$",
  "^a.c|^\\w{3}$",
  "[一-龥]{2}",
  "^(?:\\+?\\d{1,3} )?\\d{4,}$",
];
const FORMATS = ["date", "time", "date-time", "email", "hostname", "ipv4", "uuid", "uri"];
const NAMES = ["name", "age", "a", "ab", "名前", 'with "quotes"', "back\\slash", "", "line\nbreak", "tags", "x-y", "é"];

const whole = fc.integer({ min: -2000, max: 2000 });
const decimal = fc.integer({ min: -5000, max: 5000 }).map((value) => value / 100);
const plain = fc.oneof(fc.string({ unit: "grapheme", maxLength: 6 }), whole, decimal, fc.boolean(), fc.constant(null));
const spread = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
const sorted = (a: number | undefined, b: number | undefined) =>
  a !== undefined && b !== undefined && a > b ? [b, a] : [a, b];
/** Without the keys that are not there. */
const clean = (schema: Json) => Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
const bounds = (type: string, value: fc.Arbitrary<number>) =>
  fc.tuple(spread(value), spread(value), fc.boolean(), fc.boolean()).map(([a, b, above, below]) => {
    const [low, high] = sorted(a, b) as [number?, number?];
    // An open interval of one point, or one without an integer, has no value: that is not asked for here.
    const room = high === undefined || low === undefined || high - low > 2;
    return clean({
      type,
      [above && room ? "exclusiveMinimum" : "minimum"]: low,
      [below && room ? "exclusiveMaximum" : "maximum"]: high,
    });
  });
const lengths = (most: number) => fc.tuple(spread(fc.nat(most)), spread(fc.nat(most))).map(([a, b]) => sorted(a, b));

const { schema } = fc.letrec<{ schema: Json; leaf: Json; branch: Json }>((tie) => ({
  schema: fc.oneof({ depthSize: "small", withCrossShrink: true, maxDepth: 4 }, tie("leaf"), tie("branch")),
  leaf: fc.oneof(
    lengths(12).map(([minLength, maxLength]) => clean({ type: "string", minLength, maxLength })),
    fc.constantFrom(...PATTERNS).map((pattern) => ({ type: "string", pattern })),
    fc.constantFrom(...FORMATS).map((format) => ({ type: "string", format })),
    bounds("integer", whole),
    bounds("number", decimal),
    fc.constantFrom(
      { type: "boolean" },
      { type: "null" },
      { type: "object" },
      { type: "array" },
      { $ref: "#/$defs/tree" },
    ),
    fc.array(plain, { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values })),
    fc.oneof(plain, fc.constant({ a: [1, "b"] })).map((value) => ({ const: value })),
    fc.uniqueArray(fc.constantFrom("string", "integer", "boolean", "null"), { minLength: 1 }).map((type) => ({ type })),
  ),
  branch: fc.oneof(
    fc
      .tuple(tie("schema"), lengths(3))
      .map(([items, [minItems, maxItems]]) => clean({ type: "array", items, minItems, maxItems })),
    fc
      .tuple(fc.array(tie("schema"), { minLength: 1, maxLength: 3 }), fc.boolean())
      .map(([prefixItems, closed]) =>
        clean({ type: "array", prefixItems, minItems: prefixItems.length, items: closed ? false : undefined }),
      ),
    fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc.constant({
      oneOf: [{ type: "string" }, { type: "integer" }, { type: "array", items: { $ref: "#/$defs/tree" } }],
    }),
    fc
      .tuple(
        fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 5 }),
        fc.array(tie("schema"), { minLength: 5, maxLength: 5 }),
      )
      .chain(([names, values]) =>
        fc.tuple(
          fc.constant(Object.fromEntries(names.map((name, i) => [name, values[i]]))),
          fc.subarray(names),
          fc.oneof(fc.constant(undefined), fc.constant(false), fc.constant(true), tie("schema")),
        ),
      )
      .map(([properties, required, additionalProperties]) =>
        clean({ type: "object", properties, required, additionalProperties }),
      ),
  ),
}));

const $defs = {
  tree: {
    type: "object",
    properties: { value: { type: "integer" }, children: { type: "array", items: { $ref: "#/$defs/tree" } } },
    required: ["value"],
    additionalProperties: false,
  },
};

export const schemas: fc.Arbitrary<Json> = schema.map((root) => ({ ...root, $defs }));

const ajv = new Ajv2020({ strict: false });
formats.default(ajv);

/** What is wrong with a value, or undefined. */
export function wrong(schema: Json, text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return (error as Error).message;
  }
  return ajv.validate(schema, value) ? undefined : ajv.errorsText();
}
