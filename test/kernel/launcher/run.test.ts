import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const RUN = fileURLToPath(new URL("../../../kernel/launcher/run.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "soma-run-"));
const cache = mkdtempSync(join(tmpdir(), "soma-code-"));
const program = join(folder, "main.ts");
test.after(() => {
  for (const path of [folder, cache]) rmSync(path, { recursive: true, force: true });
});

/** What was said; the file's times are set back, since what has just been changed is not kept. */
function run(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [RUN, cache, program, ...args], { encoding: "utf8" });
  return { out: stdout, err: stderr, status };
}
const write = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
};
const bundles = () => readdirSync(cache).filter((name) => name.endsWith(".mjs"));

symlinkSync(fileURLToPath(new URL("../../../node_modules", import.meta.url)), join(folder, "node_modules"));
write("said.ts", `export const said: string = "one";\n`);
const main = `import { said } from "./said.ts";
import { z } from "zod";
console.log(z.string().parse(said), process.argv.slice(1).join(" "), import.meta.url, import.meta.resolve("zod"));
if (process.argv[2] === "fail")
  throw new Error("no good");
`;
write("main.ts", main);

test("a program sees its arguments, its own address and the packages beside it", () => {
  const { out, err, status } = run("a", "b");
  assert.is(err, "");
  assert.is(status, 0);
  const [said, path, a, b, address, zod] = out.trim().split(" ");
  assert.equal([said, path, a, b, address], ["one", program, "a", "b", `file://${program}`]);
  assert.match(zod!, /^file:.*\/zod\//);
});

test("it is bundled once, and again when one of its files has changed", () => {
  const [first] = bundles();
  run();
  assert.equal(bundles(), [first]);
  write("said.ts", `export const said: string = "two";\n`);
  assert.match(run().out, /^two /);
  assert.is(bundles().length, 1, "the former one is gone");
  assert.is.not(bundles()[0], first);
});

test("a worker is bundled with its program, and again when it has changed", () => {
  const starting = `import { Worker } from "node:worker_threads";
const worker = new URL("./my.worker.ts", import.meta.url).href;
new Worker(new URL(worker)).on("message", (said) => console.log(said, worker.slice(-4)));
`;
  write("main.ts", starting);
  const working = (word: string) =>
    write(
      "my.worker.ts",
      `import { parentPort } from "node:worker_threads"; import { said } from "./said.ts"; const word: string = "${word}";
parentPort!.postMessage(word + said + " " + import.meta.url);`,
    );
  working("first");
  assert.is(run().out, `firsttwo file://${join(folder, "my.worker.ts")} .mjs\n`);
  working("second");
  assert.match(run().out, /^secondtwo /);
  // Without its worker a bundle is not whole, whatever the record says.
  for (const name of bundles())
    if (readFileSync(join(cache, name), "utf8").includes("parentPort.post")) rmSync(join(cache, name));
  assert.match(run().out, /^secondtwo /);
  write("main.ts", main);
});

test("an error names the line of the source, and ends the program with its code", () => {
  const { err, status } = run("fail");
  assert.is(status, 1);
  assert.match(err, `${program}:5:9`);
});

test("a program with a mistake in it says so", () => {
  write("said.ts", "export const said: string = ;\n");
  const { err, status } = run();
  assert.is(status, 1);
  assert.match(err, /said\.ts:1:2\d/);
  assert.match(err, /Unexpected ";"/);
});

test.run();
