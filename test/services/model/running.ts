// Owns a small real system for tests of the model service: memory, device, scheduler and model as processes, and a person.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { personPermissions } from "../../../kernel/abi/rights.ts";
import type { Input, Output } from "../../../kernel/abi/syscalls.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { trainBpe } from "../../../services/model/text/bpe.ts";
import { startKernel } from "../../helpers/kernel.ts";
import { startWorld } from "../../helpers/world.ts";
import { llama, randomWeights, safetensors } from "../device/drivers/wasm/files.ts";

const TEXT = "the quick brown fox jumps over the lazy dog. 今天天气很好，明天阳光明媚。 ".repeat(4);

const CHAT = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
/** The same for a model that knows tools, as Hermes and Qwen write them. */
const TOOLS =
  "{{ bos_token }}{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}" +
  "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}\n{% endfor %}";

/** A model folder with random weights and a real tokenizer; returns its path. */
export function modelFolder({ seed = 1, context = 256, tools = false } = {}): string {
  const dir = mkdtempSync(join(tmpdir(), "soma-model-"));
  const tokenizer = trainBpe([TEXT], { vocabSize: 300, specials: ["<|bos|>", "<|end|>"] });
  const vocab = Object.keys(tokenizer.model.vocab).length;
  const config = llama({ vocab_size: vocab, max_position_embeddings: context });
  const weights = randomWeights(config, seed);
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const files = {
    "config.json": { ...config, eos_token_id: 1 },
    "tokenizer.json": tokenizer,
    "tokenizer_config.json": {
      bos_token: "<|bos|>",
      eos_token: "<|end|>",
      chat_template: tools ? TOOLS : CHAT,
    },
  };
  for (const [name, value] of Object.entries(files)) writeFileSync(join(dir, name), JSON.stringify(value));
  writeFileSync(join(dir, "model.safetensors"), safetensors(weights));
  return dir;
}

export async function startRunning() {
  const world = await startWorld({ stores: true });
  process.env.SOMA_HOME = world.home.root;
  const kernel = await startKernel(world);
  const memory = await kernel.start("memory");
  const device = await kernel.start("device");
  const scheduler = await kernel.start("scheduler");
  const model = await kernel.start("model");
  const client = new Client(await world.connect("person", personPermissions("person")));
  return {
    world,
    kernel,
    client,
    programs: { memory, device, scheduler, model },
    /** A text to its end, with its chunks; `begun` is called once the first ids are here. */
    async generate(
      input: Input<"model.generate">,
      options: { signal?: AbortSignal; ttl?: number } = {},
      begun: () => void = () => {},
    ) {
      const chunks: { pos: number; ids: number[]; text: string }[] = [];
      const stream = client.stream("model.generate", input, options);
      for await (const chunk of stream) {
        chunks.push(chunk);
        if (chunk.ids.length > 0) begun();
      }
      const end: Output<"model.generate"> = await stream.result;
      return { chunks, end, ids: chunks.flatMap(({ ids }) => ids), text: chunks.map(({ text }) => text).join("") };
    },
    /** Stores bytes as a blob of the person. */
    async store(bytes: Uint8Array): Promise<string> {
      const stream = client.stream("memory.write", { size: bytes.length });
      await stream.upload([bytes]);
      return (await stream.result).blob;
    },
    /** Follows a job to its end. */
    async follow(job: string) {
      const rows: Output<"model.follow">[] = [];
      const stream = client.stream("model.follow", { job });
      for await (const row of stream) rows.push(row);
      return { rows, end: await stream.result };
    },
    async stop() {
      await kernel.stop();
      await world.stop();
    },
  };
}
