// Owns what schemas mean: which texts a grammar takes, and what is refused by its name.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { compile } from "../../../../services/device/grammar/schema.ts";

/** Whether the schema's grammar takes a text. */
function takes(schema: unknown, text: string): boolean {
  const { nodes, start } = compile(schema);
  let node = start;
  for (const byte of Buffer.from(text)) node = nodes.step(node, byte);
  return node.size === 0;
}
const every = (schema: unknown, texts: string[]) =>
  assert.equal(
    texts.filter((text) => !takes(schema, text)),
    [],
    `of ${JSON.stringify(schema)}`,
  );
const none = (schema: unknown, texts: string[]) =>
  assert.equal(
    texts.filter((text) => takes(schema, text)),
    [],
    `of ${JSON.stringify(schema)}`,
  );
const refuses = (schema: unknown, what: RegExp) => assert.throws(() => compile(schema), what);

test("objects have their properties in order, needed ones always, others only where they are open", () => {
  const schema = {
    properties: { a: { type: "integer" }, b: { type: "string" }, c: { type: "boolean" } },
    required: ["b"],
    additionalProperties: { type: "null" },
  };
  every(schema, ['{"b":""}', '{"a":1,"b":"x","c":true}', '{"a": 1, "b": "x"}', '{"b":"","d":null,"aa": null}']);
  none(schema, ["{}", '{"b":"",}', '{"b":"","a":1}', '{"b":"","b":null}', '{"b":"","d":1}', '{  "b":""}']);
  every({ type: "object" }, ["{}", '{"a":[1,{"b":null}]}']);
  none({ type: "object", properties: { a: true } }, ['{"b":1}']);
  every({ type: "object", required: ["z"] }, ['{"z":1}']);
});

test("lists are as long as they may be, tuples in their order", () => {
  const schema = { items: { type: "integer" }, minItems: 1, maxItems: 3 };
  every(schema, ["[1]", "[1,2]", "[1, 2,3]"]);
  none(schema, ["[]", "[1,2,3,4]", "[1,]"]);
  const tuple = { prefixItems: [{ type: "integer" }, { type: "string" }], minItems: 1 };
  every(tuple, ["[1]", '[1,"a"]']);
  none(tuple, ["[]", '["a"]', '[1,"a",2]']);
  every({ ...tuple, items: { type: "null" } }, ['[1,"a",null,null]']);
  none({ type: "array", maxItems: 0 }, ["[1]"]);
});

test("numbers stay within their bounds", () => {
  const integers = { type: "integer", minimum: -12, exclusiveMaximum: 105 };
  for (let value = -150; value < 150; value++)
    assert.is(takes(integers, String(value)), value >= -12 && value < 105, String(value));
  none(integers, ["007", "-0", "1.0", "1e1", "+1", ""]);
  const numbers = { type: "number", minimum: -0.5, exclusiveMaximum: 1.25 };
  for (let value = -200; value < 200; value++)
    assert.is(
      takes(numbers, (value / 100).toFixed(2).replace("-0.00", "0.00")),
      value >= -50 && value < 125,
      `${value}`,
    );
  every({ type: "number" }, ["0", "-1.5e-7", "12345.678"]);
  every({ type: "integer", minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }, ["9007199254740991"]);
  none({ type: "number", exclusiveMinimum: 0, maximum: 1e-7 }, ["0", "0.00", "0.0000002"]);
  every({ type: "number", exclusiveMinimum: 0, maximum: 1e-7 }, ["0.0000001"]);
});

test("strings are UTF-8, escaped where JSON wants it, and counted in characters", () => {
  every({ type: "string" }, ['"a€😀"', '"\\n\\u00e9"', '"\\u2028"', '""']);
  none({ type: "string" }, ['"\n"', '"\\x"', '"\\ud800"', '"', "a"]);
  every({ type: "string", minLength: 2, maxLength: 3 }, ['"€€"', '"😀😀😀"', '"\\n\\u0041"']);
  none({ type: "string", minLength: 2, maxLength: 3 }, ['"€"', '"😀😀😀😀"']);
  const { nodes, start } = compile({ type: "string" });
  let node = start;
  for (const byte of [0x22, 0xed]) node = nodes.step(node, byte);
  assert.is(nodes.step(node, 0xa0), nodes.never, "half a surrogate pair is no character");
});

test("patterns match as in ECMAScript, anywhere unless they are anchored", () => {
  const cases: [string, string[]][] = [
    ["^a[b-d]+$", ["ab", "abcd", "a", "xab", "abe"]],
    ["o|^x", ["foo", "xy", "yx", ""]],
    ["^(?:ab|c){2}$", ["abc", "abab", "cc", "ab", "ccc"]],
    ["^\\d{2,}?\\.$", ["12.", "1.", "123."]],
    ['^[\\\\"]\\t$', ['"\t', "\\\t", "a\t"]],
    ["^[^\\d\\s]$", ["a", "1", " ", "é", "ab"]],
    ["^\\u00e9\\x41$", ["éA", "eA"]],
  ];
  for (const [pattern, texts] of cases)
    for (const text of texts)
      assert.is(
        takes({ type: "string", pattern }, JSON.stringify(text)),
        new RegExp(pattern, "u").test(text),
        `${pattern} on ${text}`,
      );
  for (const pattern of ["(?=a)", "(a)\\1", "\\bx", "\\p{L}", "a(", "[z-a]", "(a$)", "a**"])
    refuses({ type: "string", pattern }, /is not supported/);
});

test("choices, constants, references and null are what they say", () => {
  every({ enum: ["a", 1, null, { x: [1] }] }, ['"a"', "1", "null", '{"x":[1]}']);
  none({ enum: ["a", 1, null], type: "string" }, ["1", "null"]);
  every({ type: ["string", "null"] }, ['""', "null"]);
  every({ type: "integer", nullable: true }, ["1", "null"]);
  every({ oneOf: [{ type: "string" }, { type: "integer" }] }, ['"a"', "1"]);
  const list = {
    anyOf: [{ type: "null" }, { type: "object", properties: { next: { $ref: "#" } }, required: ["next"] }],
  };
  every(list, ["null", '{"next":{"next":null}}']);
  every({ allOf: [{ $ref: "#/$defs/a~1b" }], $defs: { "a/b": { const: 1 } } }, ["1"]);
  every(true, ["1", '{"a":[]}']);
});

test("what is not supported is refused by its name and place", () => {
  refuses({ type: "array", uniqueItems: true }, /at #: the keyword "uniqueItems" is not supported/);
  refuses({ properties: { a: { not: {} } } }, /at #\/properties\/a: the keyword "not"/);
  refuses({ type: "string", format: "iri" }, /format "iri" is not supported: use one of date,/);
  refuses({ type: "string", pattern: "a", maxLength: 3 }, /"minLength" and "maxLength" beside/);
  refuses({ anyOf: [{}], properties: {} }, /"properties" beside "anyOf"/);
  refuses({ oneOf: [{ type: "integer" }, { type: "number" }] }, /at once/);
  refuses({ oneOf: [{ required: ["a"] }, { required: ["b"] }] }, /at once/);
  refuses({ allOf: [{}, {}] }, /"allOf" of several/);
  refuses({ $ref: "#/$defs/no" }, /leads nowhere/);
  refuses({ $ref: "https://example.com/x" }, /not within the schema/);
  refuses({ type: "text" }, /"type" is one or some of/);
  refuses({ type: "string", maxLength: -1 }, /whole number/);
  refuses("x", /a schema is/);
});

test("what has no end or no value is refused, however deep", () => {
  refuses({ $ref: "#" }, /leads back to itself/);
  refuses(
    { anyOf: [{ $ref: "#/$defs/a" }], $defs: { a: { anyOf: [{ $ref: "#/$defs/b" }] }, b: { $ref: "#/$defs/a" } } },
    /leads back/,
  );
  refuses({ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, /no finite value/);
  refuses({ type: "integer", minimum: 3, maximum: 2 }, /no finite value/);
  refuses({ type: "array", items: false, minItems: 1 }, /no finite value/);
  let deep: object = {};
  for (let i = 0; i < 200; i++) deep = { items: deep };
  refuses(deep, /nested deeper/);
  every({ const: "x".repeat(50_000) }, [`"${"x".repeat(50_000)}"`]);
});

test("one of several objects is told by a value that each requires", () => {
  const shape = (kind: string) => ({ type: "object", properties: { kind: { const: kind } }, required: ["kind"] });
  every({ oneOf: [shape("a"), shape("b")] }, ['{"kind":"a"}', '{"kind":"b"}']);
  refuses({ oneOf: [shape("a"), shape("a")] }, /at once/);
});

test.run();
