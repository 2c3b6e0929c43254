import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CODES, SomaError } from "../../../kernel/abi/errors.ts";
import type { Command } from "../../../userland/shell/command.ts";
import { COMMANDS, runLine, Session, words } from "../../../userland/shell/program.ts";
import { columns } from "../../../userland/shell/render/table.ts";

const DOCS = readFileSync(new URL("../../../docs/shell.md", import.meta.url), "utf8");
// Never the system of whoever runs the tests.
process.env.SOMA_HOME = "/nonexistent/soma";

async function run(argv: string[], extra: Command[] = []) {
  let out = "";
  let err = "";
  const code = await runLine(
    argv,
    {
      session: new Session(),
      signal: new AbortController().signal,
      interactive: false,
      out: (text) => (out += text),
      err: (text) => (err += text),
    },
    extra,
  );
  return { code, out, err };
}
/** A command of the test's own, that shows what it was given. */
const told = (more: Partial<Command> = {}): Command => ({
  name: "told",
  args: "[words...]",
  what: "show",
  example: "soma told",
  run: async (_env, args, options) => ({ json: { args, options }, text: args.join("|") }),
  ...more,
});

test("a line is split as a shell splits it", () => {
  const cases: [string, string[]][] = [
    ["", []],
    ["  ps \t --json\n", ["ps", "--json"]],
    ['run translate "Hello World"', ["run", "translate", "Hello World"]],
    ["generate '今天 天气'很好", ["generate", "今天 天气很好"]],
    ['a"b c"d \'\' ""', ["ab cd", "", ""]],
    ['"say \\"hi\\"" \'back\\slash\'', ['say "hi"', "back\\slash"]],
    ["one\\ word \\'", ["one word", "'"]],
  ];
  for (const [line, expected] of cases) assert.equal(words(line), expected, line);
  for (const line of ['run "open', "it's"]) {
    assert.throws(
      () => words(line),
      (error: SomaError) => error.code === "EINVAL",
      line,
    );
  }
});

test("any words come back from their quoted line", () => {
  const quoted = (word: string) => `'${word.replaceAll("'", `'"'"'`)}'`;
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary" })), (list) => {
      assert.equal(words(list.map(quoted).join(" ")), list);
    }),
  );
});

test("what is no command ends with 64 and one line that names it", async () => {
  for (const argv of [["nothing"], ["model", "nothing"], ["sched", "nothing"], ["ps", "--nothing"], ["kill"]]) {
    const { code, out, err } = await run(argv);
    assert.equal([code, out], [64, ""], argv.join(" "));
    assert.match(err, /^error: [^\n]*\n(\(Did you mean [^\n]*\)\n)?$/, argv.join(" "));
  }
});

test("no two commands have the same name", () => {
  const names = COMMANDS.map(({ name }) => name);
  assert.equal([...new Set(names)], names);
});

for (const command of COMMANDS) {
  test(`soma ${command.name} has help, an example of itself and --json`, async () => {
    const { code, out, err } = await run([...command.name.split(" "), "--help"]);
    assert.equal([code, err], [0, ""]);
    assert.match(out, command.what.slice(0, 40));
    assert.match(out, "--json");
    assert.match(out, `Example:\n  ${command.example}`);
    assert.ok(command.example.startsWith(`soma ${command.name}`), command.example);
    for (const line of out.split("\n")) assert.ok(columns(line) <= 80, line);
    const { code: mistaken } = await run([...command.name.split(" "), "--no-such-option"]);
    if (!command.passThrough) assert.is(mistaken, 64);
  });
}

for (const command of COMMANDS) {
  test(`the example of soma ${command.name} is a line that it takes`, async () => {
    const { run: real } = command;
    let taken = 0;
    command.run = async () => {
      taken += 1;
      return undefined;
    };
    try {
      // What comes after ">" is for the shell around ours.
      const [, ...argv] = words(command.example.split(" > ")[0]!);
      assert.equal(await run(argv), { code: 0, out: "", err: "" });
      assert.is(taken, 1);
    } finally {
      command.run = real;
    }
  });

  test(`soma ${command.name} stands in docs/shell.md with its example`, () => {
    assert.match(DOCS, command.example);
  });
}

test("every exit code is in docs/shell.md with the errors that have it", () => {
  for (const [code, [, , , exit]] of Object.entries(CODES))
    assert.match(DOCS, new RegExp(`^\\| ${exit} \\|.*\\b${code}\\b`, "m"), code);
});

test("the help of all lists every command's first word", async () => {
  const { code, out } = await run(["--help"]);
  assert.is(code, 0);
  for (const { name } of COMMANDS) assert.match(out, new RegExp(`\\n  ${name.split(" ")[0]}\\b`));
});

test("an outcome is text for people and JSON for programs", async () => {
  const text = await run(["told", "a", "b c"], [told()]);
  assert.equal(text, { code: 0, out: "a|b c\n", err: "" });
  const json = await run(["told", "--json", "a"], [told()]);
  assert.equal(JSON.parse(json.out).args, ["a"]);
  assert.is((await run(["told"], [told({ run: async () => 7 })])).code, 7);
});

test("options after an app's name are the app's", async () => {
  const given = async (argv: string[]) =>
    JSON.parse((await run(argv, [told({ args: "<app> [args...]", passThrough: true })])).out);
  const { args, options } = await given(["told", "--json", "translate", "--json", "--max", "5", "--help"]);
  assert.equal(args, ["translate", "--json", "--max", "5", "--help"]);
  assert.is(options.json, true);
});

test("a coded error is one line with when to try again, and the exit code of its kind", async () => {
  const busy = told({
    run: async () => {
      throw new SomaError("EBUSY", "queues are full: try later", { retryAfterMs: 250 });
    },
  });
  assert.equal(await run(["told"], [busy]), {
    code: 75,
    out: "",
    err: "soma: EBUSY: queues are full: try later (again in 250 ms)\n",
  });
});

test("an error of our own keeps its trace", async () => {
  const bug = new TypeError("oops");
  const broken = told({
    run: async () => {
      throw bug;
    },
  });
  const caught = await run(["told"], [broken]).catch((error) => error);
  assert.is(caught, bug);
});

test("without a system every command says how to start one", async () => {
  const { code, err } = await run(["ps"]);
  assert.is(code, 66);
  assert.match(err, /^soma: ENOENT: no system runs here: .*soma start"\n$/);
});

test.run();
