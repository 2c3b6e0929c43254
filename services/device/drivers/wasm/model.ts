// A model on the wasm driver: one shared memory, and one pool of one thread for each tensor thread. A pool of one, because
// Piscina has no affinity: like this thread 0 always leads, and quanta stay in the order in which they were handed over.

import { fileURLToPath } from "node:url";
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { Piscina } from "piscina";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import { Grammars } from "../../grammar/grammars.ts";
import { checkBlock, copyIn, copyOut } from "../blocks.ts";
import {
  blockTokens,
  type LoadedModel,
  type LoadSpec,
  type Quantum,
  type QuantumReport,
  type Token,
} from "../driver.ts";
import { checkQuantum } from "./check.ts";
import { control, type Layout, layOut, maxThreads } from "./layout.ts";
import { collectMemories, noMemory, reserve } from "./memory.ts";
import { flag } from "./quantum.ts";
import { type Shape, shapeOf } from "./shape.ts";
import type { Loaded, Task, TokensMessage } from "./worker.ts";

interface Running {
  quantum: Quantum;
  flags: Int32Array;
  onTokens: (tokens: Token[]) => void;
}

/** Loads a model; see Driver.load. */
export async function loadModel(spec: LoadSpec): Promise<LoadedModel> {
  const shape = shapeOf(spec.config);
  for (const [field, most] of [
    ["threads", maxThreads],
    ["kvBlocks", 2 ** 24],
  ] as const)
    if (!Number.isInteger(spec[field]) || spec[field] < 1 || spec[field] > most)
      throw new SomaError("EINVAL", `${field} must be 1 to ${most}, not ${spec[field]}`);
  const layout = layOut(shape, spec.dtype, spec.kvBlocks, spec.threads);
  const memory = reserve(layout);
  const pools = Array.from({ length: spec.threads }, startThread);
  try {
    const seat = {
      memory,
      shape,
      layout,
      strict: spec.strict ?? false,
      nice: spec.nice ?? 5,
      vocabulary: spec.vocabulary?.shared,
    };
    await Promise.all(pools.map((pool, thread) => pool.run({ do: "open", seat: { ...seat, thread } } satisfies Task)));
    const { port1, port2 } = new MessageChannel();
    const task: Task = { do: "load", weights: spec.weights, hash: spec.weightsHash, tokens: port2 };
    const loaded: Loaded = await pools[0]!.run(task, { transferList: [port2] });
    if ("error" in loaded) throw SomaError.fromWire(loaded.error);
    const grammars = spec.vocabulary && new Grammars(spec.vocabulary);
    const numerics = `wasm:${loaded.arithmetic}:${loaded.hash}:${spec.dtype}`;
    return new WasmModel(shape, layout, memory, pools, port1, grammars, numerics);
  } catch (error) {
    await Promise.all(pools.map((pool) => pool.destroy()));
    setImmediate(collectMemories); // when this frame holds the memory no more
    throw error;
  }
}

function startThread(): Piscina {
  const filename = fileURLToPath(new URL("./worker.ts", import.meta.url));
  return new Piscina({
    filename,
    ...{ minThreads: 1, maxThreads: 1, idleTimeout: Number.POSITIVE_INFINITY },
    // Where this file was bundled, the worker was, too, and needs no loader.
    execArgv: filename.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [],
  });
}

class WasmModel implements LoadedModel {
  readonly bytes: LoadedModel["bytes"];
  readonly blockTokens = blockTokens;
  readonly blocks: number;
  readonly vocab: number;
  readonly context: number;
  readonly width: number;
  private readonly running = new Map<string, Running>();
  /** Why no more quanta can run. */
  private ended: SomaError | undefined;

  constructor(
    shape: Shape,
    private readonly layout: Layout,
    private memory: WebAssembly.Memory,
    private readonly pools: Piscina[],
    private readonly tokens: MessagePort,
    readonly grammars: Grammars | undefined,
    readonly numerics: string,
  ) {
    this.bytes = { ...layout.bytes, total: memory.buffer.byteLength, block: layout.blockBytes };
    this.blocks = layout.blocks;
    this.vocab = shape.vocab;
    this.context = layout.context;
    this.width = shape.width;
    // A port with a listener would keep the process alive; a running task does that already.
    tokens.on("message", (message: TokensMessage) => this.deliver(message)).unref();
  }

  async run(quantum: Quantum, onTokens: (tokens: Token[]) => void): Promise<QuantumReport> {
    if (this.ended) throw this.ended;
    if (this.running.has(quantum.id)) throw new SomaError("EINVAL", `quantum ${quantum.id} runs already`);
    checkQuantum(quantum, this);
    const flags = new Int32Array(new SharedArrayBuffer(4 * (1 + quantum.seqs.length)));
    this.running.set(quantum.id, { quantum, flags, onTokens });
    const [leader, ...followers] = this.pools;
    const tasks = [
      leader!.run({ do: "lead", quantum, flags } satisfies Task),
      ...followers.map((pool) => pool.run({ do: "follow" } satisfies Task)),
    ];
    try {
      const [report] = await Promise.all(tasks);
      // The report and the tokens come on different ports: what is still under way belongs before the report.
      for (let late = receiveMessageOnPort(this.tokens); late; late = receiveMessageOnPort(this.tokens))
        this.deliver(late.message);
      return report;
    } catch (cause) {
      this.ended ??= new SomaError("EIO", "a tensor thread failed; load the model again", { cause });
      this.abort();
      throw this.ended;
    } finally {
      this.running.delete(quantum.id);
    }
  }

  cancel(quantum: string, seq?: string): void {
    const found = this.running.get(quantum);
    const index = seq === undefined ? 0 : 1 + (found?.quantum.seqs.findIndex((one) => one.seq === seq) ?? -1);
    // What is to be given up stays so.
    if (found && (index > 0 || seq === undefined)) Atomics.or(found.flags, index, flag.cancel);
  }

  abandon(quantum: string): void {
    const found = this.running.get(quantum);
    if (found) Atomics.or(found.flags, 0, flag.abandon);
  }

  readBlocks(blocks: readonly number[]): Uint8Array {
    return copyOut(blocks, this.bytes.block, (index) => this.block(index));
  }

  writeBlocks(blocks: readonly number[], bytes: Uint8Array): void {
    copyIn(blocks, this.bytes.block, (index) => this.block(index), bytes);
  }

  copyBlock(from: number, to: number): void {
    this.block(to).set(this.block(from));
  }

  async unload(): Promise<void> {
    this.ended ??= new SomaError("ENOENT", "the model is unloaded; load it again");
    for (const quantum of this.running.keys()) this.cancel(quantum);
    while (this.running.size) await new Promise((resolve) => setTimeout(resolve, 1));
    this.tokens.close();
    await Promise.all(this.pools.map((pool) => pool.destroy()));
    this.memory = noMemory;
    collectMemories();
  }

  private deliver({ quantum, tokens }: TokensMessage): void {
    this.running.get(quantum)?.onTokens(tokens);
  }

  private block(index: number): Uint8Array {
    if (this.memory === noMemory) throw this.ended;
    checkBlock(index, this.blocks);
    return new Uint8Array(this.memory.buffer, this.layout.kv + index * this.bytes.block, this.bytes.block);
  }

  // Threads that wait for one that failed look at this word each second.
  private abort(): void {
    Atomics.store(new Int32Array(this.memory.buffer), control.abort, 1);
  }
}
