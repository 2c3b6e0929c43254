import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import type { Driver } from "../../../../services/device/drivers/driver.ts";
import { native } from "../../../../services/device/drivers/native.ts";
import { pickDriver, probeDrivers } from "../../../../services/device/drivers/registry.ts";
import { wasm } from "../../../../services/device/drivers/wasm/driver.ts";
import { file, llama, randomWeights, safetensors } from "./wasm/files.ts";
import { quantum, run } from "./wasm/run.ts";

const folders = mkdtempSync(join(tmpdir(), "soma-native-"));
const ADDON = "@tensorflow/fake";

/** A driver whose package runs `code` when it is loaded. */
function fake(name: string, code: string): Driver {
  const addon = join(folders, name, "node_modules", ADDON);
  mkdirSync(addon, { recursive: true });
  writeFileSync(join(addon, "package.json"), JSON.stringify({ name: ADDON, main: "main.js" }));
  if (code) writeFileSync(join(addon, "main.js"), code);
  return native(name, ADDON, folders, 10_000);
}

const works: Driver = { ...wasm, name: "works", probe: () => ({ ok: true, why: "always" }) };

const cases: Record<string, [driver: Driver, why: RegExp]> = {
  absent: [native("absent", ADDON, folders), /^not installed; "soma driver install absent" installs it$/],
  "half installed": [
    fake("half", ""),
    /^installed, but it does not load: Cannot find (module|package).*installs it again$/,
  ],
  throwing: [
    fake("throwing", `throw new Error("libtensorflow.so.2: no such file\\nRequire stack")`),
    /^installed, but it does not load: libtensorflow\.so\.2: no such file; "soma driver install throwing" installs it again$/,
  ],
  "dying in native code": [fake("dying", "process.abort()"), /its native code died of SIGABRT/],
  "ending its process": [fake("ending", "process.exit(3)"), /its process ended with 3 before/],
  "something else": [fake("else", "module.exports = {}"), /does not load: tf\.getBackend is not a function/],
};

for (const [what, [driver, why]] of Object.entries(cases))
  test(`a package that is ${what} is not usable and says why in one line`, () => {
    const said = driver.probe();
    assert.is(said.ok, false);
    assert.match(said.why, why);
    assert.not.match(said.why, "\n");
  });

test("a package that hangs is given up", () => {
  fake("hanging", "setInterval(() => {}, 1000); for (;;) {}");
  assert.match(native("hanging", ADDON, folders, 500).probe().why, /no answer within 0\.5 s/);
});

test("whatever is wrong with the better drivers, the next one is chosen", () => {
  const rows = probeDrivers([...Object.values(cases).map(([driver]) => driver), works]);
  assert.equal(
    rows.filter(({ ok }) => ok),
    [{ driver: "works", ok: true, chosen: true, why: "always" }],
  );
});

test("a driver that cannot be used is refused with the reason", async () => {
  const drivers = [cases.throwing![0], works];
  const coded = (error: unknown) => isSomaError(error, "ENOSYS") && /libtensorflow/.test((error as Error).message);
  assert.throws(() => pickDriver(probeDrivers(drivers), "throwing", drivers), coded);
  await drivers[0]!.load({} as never).then(
    () => assert.unreachable(),
    (error) => assert.ok(coded(error), String(error)),
  );
});

test("a package that works runs models, with the tokens of wasm", async () => {
  const path = (name: string) => JSON.stringify(createRequire(import.meta.url).resolve(`@tensorflow/${name}`));
  const code = `const tf = require(${path("tfjs-core")}); require(${path("tfjs-backend-cpu")});
    console.log("noise"); tf.setBackend("cpu"); module.exports = tf;`;
  const driver = fake("working", code);
  const { ok, why } = driver.probe();
  assert.ok(ok, why);
  assert.match(why, /^TensorFlow\.js 4\.22\.0 \(backend cpu\)/);
  const config = llama();
  const weights = file(safetensors(randomWeights(config)));
  const told: number[][] = [];
  for (const one of [driver, wasm]) {
    const model = await one.load({ config, weights, dtype: "f32", kvBlocks: 8, threads: 1 });
    const { tokens } = await run(model, quantum([{ ids: [5, 17, 2], maxNew: 12 }]));
    told.push(tokens.map(({ id }) => id));
    await model.unload();
  }
  assert.is(told[0]!.length, 12);
  assert.equal(told[0], told[1]);
});

test("the real table always has a driver that works here", () => {
  const rows = probeDrivers();
  assert.equal(
    rows.map(({ driver }) => driver),
    ["wasm", "tfjs-node-gpu", "tfjs-node"],
  );
  assert.is(pickDriver(rows, undefined).name, "wasm");
});

test.after(() => rmSync(folders, { recursive: true, force: true }));
test.run();
