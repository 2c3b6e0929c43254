// Owns the tests of the JSONL reader.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { type Example, parseExamples, readExamples } from "../../../../services/model/text/records.ts";

async function all(examples: AsyncIterable<Example>): Promise<Example[]> {
  const list: Example[] = [];
  for await (const example of examples) list.push(example);
  return list;
}

const FILE = [
  '{"prompt":"1+1=","completion":"2"}',
  "",
  '{"text":"春眠不觉晓"}\r',
  '{"source":"Hi","target":"嗨","task":"translate","origin":"mine"}',
].join("\n");

const EXAMPLES: Example[] = [
  { task: "complete", source: "1+1=", target: "2", origin: "user" },
  { task: "complete", source: "", target: "春眠不觉晓", origin: "user" },
  { task: "translate", source: "Hi", target: "嗨", origin: "mine" },
];

test("the three forms of a line become examples; blank lines give none", () => {
  assert.equal(parseExamples(FILE, "f"), EXAMPLES);
  assert.equal(parseExamples(`${FILE}\n`, "f"), EXAMPLES);
});

test("a stream cut anywhere gives the same examples", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(FILE.length), { maxLength: 8 }), fc.boolean(), async (cuts, newline) => {
      const text = newline ? `${FILE}\n` : FILE;
      const at = [0, ...cuts.sort((a, b) => a - b), text.length];
      const pieces = at.slice(1).map((end, i) => text.slice(at[i], end));
      assert.equal(await all(readExamples(pieces, "f")), EXAMPLES);
    }),
  );
});

const BROKEN: [line: string, says: string][] = [
  ["{", "not JSON"],
  ["[1]", "not a JSON object"],
  ["null", "not a JSON object"],
  ['{"prompt":"x"}', "has {prompt}"],
  ['{"prompt":"x","completion":3}', '"completion" must be a string'],
  ['{"text":"x","origin":1}', '"origin" must be a string'],
  ['{"prompt":"x","completion":""}', "nothing to learn"],
];

for (const [line, says] of BROKEN) {
  test(`the line ${line} is refused with its number, blank lines counted`, async () => {
    const text = `{"text":"ok"}\n\n${line}\n{"text":"never read"}`;
    const right = (e: unknown) =>
      isSomaError(e, "EINVAL") && e.message.startsWith("data.jsonl:3: ") && e.message.includes(says);
    assert.throws(() => parseExamples(text, "data.jsonl"), right);
    let error: unknown;
    await all(readExamples([text], "data.jsonl")).catch((e: unknown) => {
      error = e;
    });
    assert.ok(right(error), String(error));
  });
}

test("a broken last line without a line break has its number too", async () => {
  let error: unknown;
  await all(readExamples(['{"text":"ok"}\n{"te', "xt"], "f")).catch((e: unknown) => {
    error = e;
  });
  assert.ok(isSomaError(error, "EINVAL") && error.message.startsWith("f:2: "), String(error));
});

test("examples before a broken line have been handed on", async () => {
  const seen: string[] = [];
  try {
    for await (const { target } of readExamples(['{"text":"one"}\n', "broken\n"], "f")) seen.push(target);
    assert.unreachable();
  } catch (error) {
    assert.ok(isSomaError(error, "EINVAL"));
  }
  assert.equal(seen, ["one"]);
});

test.run();
