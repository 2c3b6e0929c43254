import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, SomaError } from "../../../kernel/abi/errors.ts";
import type { Env, Shown } from "../../../userland/shell/command.ts";
import { driverCommandsAt } from "../../../userland/shell/commands/driver.ts";
import { driverFolders, installDriver } from "../../../userland/shell/drivers.ts";

const folders = mkdtempSync(join(tmpdir(), "soma-drivers-"));
const ADDON = "@tensorflow/fake";

/** A driver's folder as the repository has it, not installed. */
function folder(name: string, lock = true): string {
  const at = join(folders, name);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ dependencies: { [ADDON]: "1.0.0" } }));
  if (lock) writeFileSync(join(at, "package-lock.json"), "{}");
  return at;
}

/** A program in npm's place: `code` runs in the driver's folder with npm's arguments in `args`. */
function npm(code: string): readonly [string, ...string[]] {
  return [process.execPath, "-e", `const args = process.argv.slice(1), fs = require("node:fs"); ${code}`, "--"];
}

const installs = `
  fs.mkdirSync("node_modules/${ADDON}", { recursive: true });
  fs.writeFileSync("node_modules/${ADDON}/package.json", "{}");
  console.log("ran " + args[0]);`;

const fails = (...lines: string[]) =>
  `for (const l of ${JSON.stringify(lines)}) console.error(l); process.exitCode = 1`;

async function install(name: string, code: string, signal = new AbortController().signal) {
  const lines: string[] = [];
  try {
    const driver = await installDriver(name, { progress: (l) => lines.push(l), signal, folders, npm: npm(code) });
    return { driver, lines };
  } catch (error) {
    assert.ok(isSomaError(error), String(error));
    return { error, lines };
  }
}

test("an installation runs npm in the driver's folder and shows its lines", async () => {
  folder("locked");
  const { driver, lines } = await install("locked", installs);
  assert.equal(driver, { name: "locked", addon: ADDON, installed: true });
  assert.equal(lines, ["ran ci"]);
});

test("without a lock it is npm install", async () => {
  folder("unlocked", false);
  assert.equal((await install("unlocked", installs)).lines, ["ran install"]);
});

test("a failure says in one line at which stage, why, and what to do", async () => {
  folder("failing");
  const fetching = ["* Downloading libtensorflow", "      throw er;", "Error: getaddrinfo ENOTFOUND storage.example"];
  const cases: [lines: string[], message: RegExp][] = [
    [
      [...fetching, "npm error code 1", "npm error path somewhere"],
      /^driver failing: libtensorflow could not be fetched \(getaddrinfo ENOTFOUND storage\.example\): name a mirror in TFJS_NODE_BASE_URI/,
    ],
    [
      ["* Downloading libtensorflow", "* Building TensorFlow Node.js bindings", "npm error code 1"],
      /^driver failing: its addon could not be fetched or compiled: install python3, make/,
    ],
    [
      ["npm error code E404", "npm error 404 Not Found"],
      /^driver failing: npm could not get its packages \(404 Not Found\): check npm's registry/,
    ],
  ];
  for (const [lines, message] of cases) {
    const { error } = await install("failing", fails(...lines));
    assert.is(error?.code, "EIO");
    assert.match(error!.message, message);
    assert.not.match(error!.message, "\n");
  }
});

test("a driver that nobody knows is refused with the names", async () => {
  const { error } = await install("nonsense", installs);
  assert.is(error?.code, "ENOENT");
  assert.match(error!.message, "locked");
});

test("no npm at all is said", async () => {
  const spec = {
    progress: () => {},
    signal: new AbortController().signal,
    folders,
    npm: ["soma-no-such-npm"] as const,
  };
  const error = await installDriver("failing", spec).catch((error) => error);
  assert.ok(isSomaError(error, "EIO"), String(error));
  assert.match(error.message, "is it on the PATH?");
});

test("Ctrl-C stops npm", async () => {
  const stop = new AbortController();
  const stopping = install("failing", `console.log("started"); setInterval(() => {}, 1000)`, stop.signal);
  stop.abort();
  assert.is((await stopping).error?.code, "ECANCELED");
});

const env = (soma: Env["soma"]): Env => ({
  soma,
  signal: new AbortController().signal,
  json: false,
  interactive: false,
  out: () => {},
});
const ls = async (soma: Env["soma"]) =>
  (await driverCommandsAt(folders)[0]!.run(env(soma), [], {})) as Shown & { json: { from: string; drivers: any[] } };

test("where no system runs, driver ls tells what the folders tell, and that it did", async () => {
  const { json, text } = await ls(() => Promise.reject(new SomaError("ENOENT", "no system runs here")));
  assert.match(text, "from the folders only: no system runs here");
  assert.equal(
    json.drivers.map(({ driver, installed, state }) => [driver, installed, state]),
    [
      ["failing", false, "no"],
      ["locked", true, "unknown"],
      ["unlocked", true, "unknown"],
      ["wasm", null, "unknown"],
    ],
  );
});

test("where one runs, driver ls tells what its device says", async () => {
  const drivers = [
    { driver: "locked", ok: false, chosen: false, why: "does not load" },
    { driver: "wasm", ok: true, chosen: true, why: "works" },
  ];
  const soma = { device: { list: async () => ({ device: "device-1", drivers }) } };
  const { json, text } = await ls(async () => soma as never);
  assert.match(text, "device-1");
  assert.equal(json.drivers, [
    { driver: "locked", installed: true, state: "no", why: "does not load" },
    { driver: "wasm", installed: null, state: "chosen", why: "works" },
  ]);
});

test("our own bug is not taken for a missing system", async () => {
  const bug = await ls(() => Promise.reject(new TypeError("a bug"))).catch((error) => error);
  assert.instance(bug, TypeError);
});

test("the repository has both folders, outside of the root's packages", () => {
  assert.equal(
    driverFolders().map(({ name, addon }) => [name, addon]),
    [
      ["tfjs-node", "@tensorflow/tfjs-node"],
      ["tfjs-node-gpu", "@tensorflow/tfjs-node-gpu"],
    ],
  );
});

test.after(() => rmSync(folders, { recursive: true, force: true }));
test.run();
