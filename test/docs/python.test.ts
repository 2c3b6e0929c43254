// The Python client of docs/clients.md, with a creds file that the shell wrote: real broker, real auth, and a model that says numbers.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writePersonFile } from "../../kernel/files.ts";
import { GrantTable } from "../../kernel/ipc/grants.ts";
import { type Kernel, startKernel } from "../helpers/kernel.ts";
import { startWorld, type World } from "../helpers/world.ts";

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PYTHON = [process.env.SOMA_NATS_PYTHON, process.env.SOMA_PYTHON, "python3"].find(
  (program) => program && spawnSync(program, ["-c", "import nats, nkeys, msgpack"]).status === 0,
);

let world: World;
let kernel: Kernel;
const prompts: string[] = [];

/** Ends with [exit code, stdout, stderr]. */
function run(program: string, args: string[]): Promise<[number | null, string, string]> {
  const child = spawn(program, args, { env: { ...process.env, SOMA_HOME: world.home.root, NO_COLOR: "1" } });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
  return new Promise((resolve) => child.once("close", (code) => resolve([code, out, err])));
}

const soma = (...args: string[]) => run(process.execPath, [at("userland/shell/soma.mjs"), ...args]);

async function grant(holder: string, call: string): Promise<string> {
  const [code, creds, err] = await soma("app", "grant", holder, "--call", call);
  assert.is(code, 0, err);
  const file = join(world.home.root, `${holder}.creds`);
  writeFileSync(file, creds, { mode: 0o600 });
  return file;
}

const python = (creds: string) => run(PYTHON!, [at("docs/examples/python/generate.py"), creds, "今天"]);

async function start(): Promise<void> {
  world = await startWorld({ stores: true });
  kernel = await startKernel(world);
  await kernel.start("auth");
  writePersonFile(world.home, world.authority);
  mkdirSync(join(world.home.root, "run"), { recursive: true });
  writeFileSync(join(world.home.root, "run", "system.json"), JSON.stringify({ url: world.url }));
  const table = new GrantTable(kernel.grants.publicKey);
  const { bus } = await world.serve(
    "model",
    {
      // More chunks than may be unread at a time.
      generate: async ({ prompt }, request) => {
        prompts.push(`${request.principal.principal}: ${prompt}`);
        for (let pos = 0; pos < 200; pos++) await request.emit({ pos, ids: [pos], text: `${pos} ` });
        const usage = { promptTokens: 1, tokens: 200 } as never;
        return { text: "", finish: "stop", model: "tiny", version: 1, numerics: "", seed: 0, usage };
      },
    },
    { authorize: (...args) => table.authorize(...args) },
  );
  await table.follow(bus);
}

if (PYTHON === undefined) {
  test("a Python client with a granted creds file reads a whole stream", () =>
    console.log("SKIPPED: no Python with nats-py, nkeys and msgpack (SOMA_NATS_PYTHON names one)"));
} else {
  test.before(start);
  test.after(async () => {
    await kernel.stop();
    await world.stop();
  });

  test("a Python client with a granted creds file reads a whole stream", async () => {
    const [code, text, err] = await python(await grant("bob", "model.generate"));
    assert.equal([code, err], [0, ""]);
    assert.is(text, `${Array.from({ length: 200 }, (_, i) => `${i} `).join("")}\n`);
    assert.equal(prompts, ["bob: 今天"]);
  });

  test("what it was not granted is refused at once, naming the command", async () => {
    const [code, , err] = await python(await grant("eve", "memory.get"));
    assert.is(code, 77, err);
    assert.match(err, "soma app grant eve --call model.generate");
  });

  test("once revoked, the file opens nothing", async () => {
    const file = await grant("tom", "model.generate");
    assert.is((await soma("app", "revoke", "tom"))[0], 0);
    const [code, , err] = await python(file);
    assert.is(code, 77, err);
    assert.match(err, "ask for a new one");
    assert.is(prompts.length, 1);
  });

  test("without a broker it says so", async () => {
    const file = await grant("ann", "model.generate");
    writeFileSync(join(world.home.root, "run", "system.json"), JSON.stringify({ url: "nats://127.0.0.1:1" }));
    const [code, , err] = await python(file);
    assert.is(code, 74, err);
    assert.match(err, "soma start");
  });
}

test.run();
