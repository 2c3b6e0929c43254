// What a newcomer sees: the first start trains, measures and answers; the second one is quick; nothing is left over.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../helpers/system.ts";

const SOMA = fileURLToPath(new URL("../../userland/shell/soma.mjs", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "soma-demo-"));
const started: ChildProcess[] = [];
test.after(() => {
  for (const child of started) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

function soma(...args: string[]) {
  const child = spawn(process.execPath, [SOMA, ...args], {
    env: { ...process.env, SOMA_HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  const run = { child, text: "", ended: once(child, "close") as Promise<[number | null]> };
  for (const output of [child.stdout!, child.stderr!])
    output.setEncoding("utf8").on("data", (text: string) => (run.text += text));
  return run;
}

async function finished(...args: string[]): Promise<{ code: number | null; text: string }> {
  const run = soma(...args);
  const [code] = await run.ended;
  return { code, text: run.text };
}

/** Processes of this home that still run. */
function left(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/environ`, "utf8").includes(`SOMA_HOME=${home}`) &&
          !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
        );
      } catch {
        return false; // It has ended, or is not ours to look at.
      }
    })
    .map(Number);
}

const gone = (why: string) => until(`nothing is left after ${why}`, () => left().length === 0);

test("the first start trains, measures on held-out data, answers both cases and ends with 0", async () => {
  const { code, text } = await finished("start", "--demo");
  assert.is(code, 0, text);
  for (const service of ["auth-1", "memory-1", "device-1", "scheduler-1", "model-1"])
    assert.match(text, new RegExp(`✓ ${service} +ready`));
  assert.match(text, /test: never trained on +159 /);
  assert.match(text, /hand-written: meant to be memorised +260 /);
  assert.match(text, /soma run generate "今天天气很好"\n明天阳光明媚\n/);
  assert.match(text, /soma run translate "Hello World"\n你好，世界\n/);
  await gone("the demo");
});

test("the second start trains nothing; the answers come to the shell, and their figures as JSON", async () => {
  const system = soma("start");
  await until("it says how to attach", () => /In another terminal/.test(system.text), system);
  assert.not.match(system.text, /training/);
  const answer = await finished("run", "translate", "Hello World");
  assert.equal(answer, { code: 0, text: "你好，世界\n" });
  const { text } = await finished("generate", "今天天气很好", "--json");
  const end = JSON.parse(text) as {
    text: string;
    model: string;
    version: number;
    seed: number;
    usage: { newTokens: number };
  };
  assert.equal([end.text, end.model, end.version], ["明天阳光明媚", "tiny", 1]);
  assert.type(end.seed, "number");
  assert.ok(end.usage.newTokens > 0);
  // What was never trained on is translated by the same model, well or badly, and not looked up.
  const held = await finished("model", "eval", "--split", "test", "--limit", "20", "--json");
  assert.ok(JSON.parse(held.text).exactMatch < 0.5);
  const again = await finished("start");
  assert.is(again.code, 75);
  assert.match(again.text, /the system runs already \(pid \d+\)/);
  const stop = await finished("stop");
  assert.is(stop.code, 0);
  assert.is((await system.ended)[0], 0);
  await gone("soma stop");
});

test("Ctrl-C stops everything in order, and kill -9 of the launcher leaves nothing either", async () => {
  const first = soma("start", "--bare");
  await until("it runs", () => /In another terminal/.test(first.text), first);
  const began = performance.now();
  process.kill(JSON.parse(readFileSync(join(home, "run", "system.json"), "utf8")).pid, "SIGINT");
  assert.is((await first.ended)[0], 0);
  assert.ok(performance.now() - began < 50_000);
  await gone("Ctrl-C");
  const second = soma("start", "--bare");
  await until("it runs again", () => /In another terminal/.test(second.text), second);
  process.kill(JSON.parse(readFileSync(join(home, "run", "system.json"), "utf8")).pid, "SIGKILL");
  assert.is.not((await second.ended)[0], 0);
  await gone("kill -9 of the launcher");
});

test.run();
