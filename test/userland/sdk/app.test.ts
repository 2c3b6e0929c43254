import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { personPermissions } from "../../../kernel/abi/rights.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { parseArgs } from "../../../userland/sdk/app.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
const folder = mkdtempSync(join(tmpdir(), "soma-app-"));
const SDK = new URL("../../../userland/sdk/app.ts", import.meta.url).href;
const TSX = import.meta.resolve("tsx");

test.before(async () => {
  world = await startWorld();
});
test.after(async () => {
  await world.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs an app whose main has this body, as the kernel would; `slow` reads nothing for a while. */
async function run(body: string, args: string[] = [], { connected = true, slow = false } = {}) {
  const path = join(folder, "main.mts");
  const manifest = '{ name: "echo", what: "says it again", usage: "soma run echo [text]", needs: [] }';
  const imports = `import { defineApp, SomaError } from ${JSON.stringify(SDK)};`;
  writeFileSync(path, `${imports}\ndefineApp({ ...${manifest}, main: async (context) => { ${body} } });\n`);
  const key = createKey("user");
  const { pub, sub } = personPermissions("person");
  const permissions = { pub: { allow: pub }, sub: { allow: sub } };
  const jwt = world.authority.mintActor({ name: "person", publicKey: key.publicKey, permissions });
  const { SOMA_CREDS: _, NATS_URL: __, ...env } = process.env;
  const creds = JSON.stringify({ url: world.url, name: "person", jwt, seed: key.seed });
  const child = spawn(process.execPath, ["--import", TSX, path, ...args], {
    env: { ...env, SOMA_HOME: join(folder, "none"), ...(connected ? { SOMA_CREDS: creds } : {}) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close") as Promise<[number]>;
  let out = "";
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
  if (slow) await new Promise((resolve) => setTimeout(resolve, 1_500));
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  const [code] = await closed;
  return { code, out, err };
}

test("words, flags and switches are told apart", () => {
  const cases: [string[], string[], object][] = [
    [["a", "b c"], ["a", "b c"], {}],
    [["--max", "5", "text"], ["text"], { max: "5" }],
    [["--max=5", "--note="], [], { max: "5", note: "" }],
    [["--json", "text"], ["text"], { json: true }],
    [["--help"], [], { help: true }],
    [["--fast"], [], { fast: true }],
    [["--fast", "--max", "5"], [], { fast: true, max: "5" }],
    [["a", "--", "--max", "5"], ["a", "--max", "5"], {}],
    [["--text=a=b\nc"], [], { text: "a=b\nc" }],
    [["-x", "-", "--Upper", "-1"], ["-x", "-", "--Upper", "-1"], {}],
  ];
  for (const [argv, args, flags] of cases) assert.equal(parseArgs(argv), { args, flags }, argv.join(" "));
});

test("nothing after -- is a flag, whatever it is", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (rest) => {
      assert.equal(parseArgs(["--json", "--", ...rest]), { args: rest, flags: { json: true } });
    }),
  );
});

test("an app gets its arguments, a connection and a name", async () => {
  const { code, out, err } = await run(
    "context.print(JSON.stringify([context.args, context.flags, context.soma.name, 'SOMA_CREDS' in process.env]))",
    ["one", "--max", "5"],
  );
  assert.equal([code, err], [0, ""]);
  assert.equal(JSON.parse(out), [["one"], { max: "5" }, "person", false]);
});

test("two megabytes through a pipe that is read late arrive whole", async () => {
  const body = 'for (let i = 0; i < 32768; i++) context.print(String(i).padStart(63, ".") + "\\n")';
  const { code, out } = await run(body, [], { slow: true });
  assert.is(code, 0);
  assert.is(out.length, 2 * 1024 * 1024);
  assert.ok(out.endsWith("32767\n"));
});

test("a coded error is one line and its exit code, after what was printed", async () => {
  const { code, out, err } = await run(
    'context.print("x".repeat(200000)); throw new SomaError("EDQUOT", "the budget is spent: ask for more")',
  );
  assert.equal([code, out.length, err], [75, 200_000, "echo: EDQUOT: the budget is spent: ask for more\n"]);
});

test("any other error is the app's bug, with its trace", async () => {
  const { code, err } = await run('throw new TypeError("oops")');
  assert.is(code, 1);
  assert.match(err, /TypeError: oops\n\s+at /);
});

test("help needs no system", async () => {
  const { code, out } = await run("context.print('never')", ["--help"], { connected: false });
  assert.equal([code, out], [0, "echo: says it again\n\nUsage: soma run echo [text]\n"]);
});

test("without a system an app says how to start one", async () => {
  const { code, out, err } = await run("context.print('never')", [], { connected: false });
  assert.equal([code, out], [66, ""]);
  assert.match(err, /^echo: ENOENT: .*soma start.*\n$/);
});

test.run();
