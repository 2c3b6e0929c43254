// Table 2: 32 streams at once, against the matrix products alone, against one after another, and against the engine driven directly.
import { MODEL } from "../../test/services/scheduler/running.ts";
import { inTurns, median } from "../figures.ts";
import { type Direct, startDirect } from "./direct.ts";
import { startGemm } from "./gemm.ts";
import type { System } from "./system.ts";
import { sum, type Timing } from "./timing.ts";
import { atLeast, type Verdict, verdicts } from "./verdict.ts";
import { type Agent, PARAMETERS, prompt } from "./workload.ts";

const STREAMS = 32;
const PROMPT = 16;
const NEW = 64;
/** Both floors are of fp32. */
const GOALS = { gemm: 0.65, serial: 1.8, direct: 0.95 };

/** Fresh prompts each time: nothing is shared with a former round. */
function streams(count: number, seed: number): Agent[] {
  const common = { app: "bench", maxNew: NEW, arrival: 0, priority: 0, ttl: 600_000 };
  return Array.from({ length: count }, (_, i) => ({ ...common, ids: prompt(PROMPT, 100 * seed + i) }));
}

/** FLOP of the matrix products of so many streams: prompts go through the layers only. */
const flop = (count: number) => 2 * count * ((PROMPT + NEW - 1) * PARAMETERS.body + NEW * PARAMETERS.head);

export async function measureStreams(system: System, direct: Direct, threads: number, rounds: number) {
  const int8 = await startDirect(system.path, threads, STREAMS * 8, "int8");
  const int8Model = "tiny8@1";
  await system.load({ model: int8Model, dtype: "int8", kvBytes: STREAMS * 8 * int8.loaded.bytes.block });
  const gemms = { f32: await startGemm(STREAMS, "f32", threads), int8: await startGemm(STREAMS, "int8", threads) };
  let seed = 1;
  const perSecond = async (count: number, run: (list: Agent[]) => Promise<Timing[]>) => {
    const list = streams(count, seed++);
    const from = performance.now();
    const timings = await run(list);
    return (1000 * sum(timings.map(({ newTokens }) => newTokens))) / (performance.now() - from);
  };
  const serial = (model: string) => (list: Agent[]) =>
    list.reduce<Promise<Timing[]>>(
      async (done, agent) => [...(await done), await system.ask(agent, model)],
      Promise.resolve([]),
    );
  const drive = { batch: STREAMS, maxSteps: 1000 };
  const figures = await inTurns(
    [
      ["gemm f32", () => gemms.f32.measure(20)],
      ["system f32", () => perSecond(STREAMS, (list) => system.run(list))],
      ["direct f32", () => perSecond(STREAMS, (list) => direct.run(list, drive))],
      ["serial f32", () => perSecond(3, serial(MODEL))],
      ["gemm int8", () => gemms.int8.measure(20)],
      ["system int8", () => perSecond(STREAMS, (list) => system.run(list, int8Model))],
      ["direct int8", () => perSecond(STREAMS, (list) => int8.run(list, drive))],
      ["serial int8", () => perSecond(3, serial(int8Model))],
    ],
    rounds,
  );
  await Promise.all([gemms.f32.stop(), gemms.int8.stop()]);
  await int8.stop();
  await system.client.call("device.unload", { model: int8Model });
  return figures;
}

export async function table2(system: System, direct: Direct, threads: number, rounds: number): Promise<string> {
  const figures = await measureStreams(system, direct, threads, rounds);
  const ratio = (a: string, b: string, scale = 1) =>
    median(figures.get(a)!.map((value, round) => (scale * value) / figures.get(b)![round]!));
  const rows = (["f32", "int8"] as const).flatMap((dtype): Verdict[] => {
    const goal = (what: string, value: number, least: number): Verdict =>
      dtype === "f32" ? atLeast(what, value, least) : [what, value.toFixed(2)];
    const [own, gemm] = [median(figures.get(`system ${dtype}`)!), median(figures.get(`gemm ${dtype}`)!)];
    return [
      [`${dtype}: ${STREAMS} streams, tokens/s`, own.toFixed(0)],
      [`${dtype}: matrix products alone, GFLOP/s`, (gemm / 1e9).toFixed(1)],
      goal(
        "  FLOP/s of the streams / of these",
        ratio(`system ${dtype}`, `gemm ${dtype}`, flop(STREAMS) / (STREAMS * NEW)),
        GOALS.gemm,
      ),
      goal("  / one after another", ratio(`system ${dtype}`, `serial ${dtype}`), GOALS.serial),
      atLeast("  / engine driven directly", ratio(`system ${dtype}`, `direct ${dtype}`), GOALS.direct),
    ];
  });
  return verdicts(`2. ${STREAMS} streams, ${threads} threads each side`, rows);
}
