// Owns how calls of tools are told from text, in each form that models are taught.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { callSchema, formOf, ToolCalls } from "../../../../services/model/text/tools.ts";

const HERMES = "{{ tools }}<tool_call>";
const MISTRAL = "{{ tools }}[TOOL_CALLS]";
const LLAMA = '{{ tools }}{"name": function name, "parameters": ...}';

/** An answer in pieces of `size`: what was shown as it came, then the end. */
function read(chat: string, answer: string, size: number, forced = false) {
  const calls = new ToolCalls(formOf(chat), new Set(["find", "clock"]), forced, "1");
  let shown = "";
  for (let i = 0; i < answer.length; i += size) shown += calls.push(answer.slice(i, i + size));
  const end = calls.finish();
  return { shown, text: shown + end.text, calls: end.calls.map(({ name, arguments: json }) => [name, json]) };
}

const SIZES = [1, 3, 7, 1000];
const FIND = '{"name": "find", "arguments": {"x": 1}}';

test("Hermes: text before calls is shown as it comes, calls are read, however the answer was cut", () => {
  for (const size of SIZES) {
    const one = read(HERMES, `Let me see <b>.\n<tool_call>\n${FIND}\n</tool_call>`, size);
    assert.is(one.shown, "Let me see <b>.\n");
    assert.equal(one, { shown: one.shown, text: one.shown, calls: [["find", '{"x":1}']] });
    const two = read(HERMES, `<tool_call>${FIND}</tool_call>\n<tool_call>{"name":"clock"}`, size);
    assert.equal(two.calls, [
      ["find", '{"x":1}'],
      ["clock", "{}"],
    ]);
  }
});

test("Mistral and Llama 3: the whole answer is a call, or it is text", () => {
  for (const size of SIZES) {
    assert.equal(read(MISTRAL, `[${FIND}, ${FIND}]`, size).calls.length, 2);
    assert.equal(read(MISTRAL, `[TOOL_CALLS] [${FIND}]`, size), { shown: "", text: "", calls: [["find", '{"x":1}']] });
    assert.equal(read(LLAMA, '\n{"name": "find", "parameters": {"x": 1}}', size).calls, [["find", '{"x":1}']]);
    assert.equal(read(LLAMA, "It is {5}.", size), { shown: "It is {5}.", text: "It is {5}.", calls: [] });
  }
});

test("what only looks like a call stays text: no JSON, cut off, no tool of that name", () => {
  for (const answer of [
    "<tool_call>{nonsense}</tool_call>",
    "<tool_call>",
    '<tool_call>{"name": "find", "argu',
    '<tool_call>{"name":"rm"}</tool_call>',
    "a < b",
  ])
    for (const size of SIZES) {
      const { text, calls } = read(HERMES, answer, size);
      assert.equal([text, calls], [answer, []]);
    }
  assert.equal(read(MISTRAL, "[1, 2]", 1), { shown: "", text: "[1, 2]", calls: [] });
});

test("a call that must come has no marker before it", () => {
  assert.equal(read(HERMES, FIND, 4, true), { shown: "", text: "", calls: [["find", '{"x":1}']] });
  assert.equal(read(MISTRAL, `[${FIND}]`, 4, true).calls.length, 1);
});

test("equal calls of one answer have ids of their own", () => {
  const calls = new ToolCalls(formOf(MISTRAL), new Set(["find"]), false, "1");
  calls.push(`[${FIND}, ${FIND}]`);
  const ids = calls.finish().calls.map(({ id }) => id);
  assert.is(new Set(ids).size, 2);
  for (const id of ids) assert.match(id, /^[a-z0-9]{9}$/);
});

test("the schema of a call keeps the references of its tools", () => {
  const parameters = { $ref: "#/$defs/a", $defs: { a: { items: { $ref: "#" } } } };
  const { anyOf } = callSchema(formOf(HERMES), [{ function: { name: "find", parameters } }]) as { anyOf: any[] };
  const { arguments: moved } = anyOf[0].properties;
  assert.is(moved.$ref, "#/anyOf/0/properties/arguments/$defs/a");
  assert.is(moved.$defs.a.items.$ref, "#/anyOf/0/properties/arguments");
});

test("templates without tools, and of other forms, are refused", () => {
  assert.throws(() => formOf("{{ messages }}"), /knows no tools/);
  assert.throws(() => formOf("{{ tools }}<tool_call><function=x>"), /a form that is not read/);
});

test.run();
