// Owns the commands about models and jobs.
import { createReadStream, statSync } from "node:fs";
import { resolve } from "node:path";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { LIMITS } from "../../../kernel/abi/limits.ts";
import type { Input } from "../../../kernel/abi/syscalls.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command } from "../command.ts";
import { type LossPoint, lossChart } from "../render/curve.ts";
import { fields } from "../render/fields.ts";
import { transferBar } from "../render/progress.ts";
import { table } from "../render/table.ts";
import { bytes } from "../render/units.ts";
import { followJob } from "./job.ts";

export const modelCommands: Command[] = [
  {
    name: "model ls",
    what: "list models",
    example: "soma model ls",
    async run(env) {
      const { models } = await (await env.soma()).model.list({});
      const rows = models.map((m) => [
        `${m.name}@${m.version}`,
        m.aliases.join(" "),
        m.architecture,
        m.parameters,
        bytes(m.bytes),
        m.state,
        m.loss?.toFixed(4),
      ]);
      return {
        json: models,
        text: table(["MODEL", "ALIASES", "ARCHITECTURE", ">PARAMETERS", ">SIZE", "STATE", ">LOSS"], rows),
      };
    },
  },
  {
    name: "model show",
    args: "<model>",
    what: "show a model's record",
    example: "soma model show default",
    async run(env, [model = ""]) {
      const row = await (await env.soma()).model.show({ model });
      const { curve, ...record } = row.record;
      const chart = lossChart((curve as LossPoint[] | undefined) ?? []);
      return {
        json: row,
        text: `${row.name}@${row.version} ${row.aliases.join(" ")}\n${chart && `\n${chart}\n`}\n${fields(record)}`,
      };
    },
  },
  {
    name: "model deploy",
    args: "<model>",
    what: "point an alias at a version and load it",
    example: "soma model deploy tiny@2 --alias default",
    options: [
      ["--alias <name>", "which alias", "default"],
      ["--dtype <type>", "f32, int8 or int4"],
    ],
    async run(env, [model = ""], { alias, dtype }) {
      const done = await (await env.soma()).model.deploy({
        model,
        alias: String(alias),
        ...(dtype ? { dtype: dtype as "f32" } : {}),
      });
      return {
        json: done,
        text: `${done.alias} is now ${done.model}@${done.version}${done.previous ? `, was ${done.previous}` : ""}`,
      };
    },
  },
  {
    name: "model eval",
    args: "[model]",
    what: "measure a model on a split of its data",
    example: "soma model eval default --split test",
    options: [
      ["--split <name>", "train, validation, test or handwritten", "test"],
      ["--limit <count>", "so many cases"],
    ],
    async run(env, [model = "default"], { split, limit }) {
      const figures = await (await env.soma()).model.evaluate(
        { model, split: split as "test", ...(limit ? { limit: Number(limit) } : {}) },
        { signal: env.signal },
      );
      return {
        json: figures,
        text: table(
          ["SPLIT", ">CASES", ">EXACT", ">CHRF", ">LOSS"],
          [
            [
              String(split),
              figures.cases,
              `${(100 * figures.exactMatch).toFixed(1)}%`,
              figures.chrf.toFixed(1),
              figures.loss.toFixed(3),
            ],
          ],
        ),
      };
    },
  },
  {
    name: "model pull",
    args: "<owner/name[@revision]> [name]",
    what: "fetch a model from a Hugging Face hub",
    example: "soma model pull HuggingFaceTB/SmolLM2-135M-Instruct",
    options: [["--file <name>", "which GGUF file, where there are several"]],
    async run(env, [repo = "", name], options) {
      const stream = (await env.soma()).model.pull({ repo, name, file: options.file as string | undefined });
      const bar = transferBar();
      try {
        for await (const progress of stream) bar.update(progress);
      } finally {
        bar.stop();
      }
      const row = await stream.result;
      return { json: row, text: `${row.name}@${row.version}: ${row.architecture}, ${row.parameters} parameters` };
    },
  },
  {
    name: "model import",
    args: "<path> <name>",
    what: "register a Hugging Face folder or a GGUF file",
    example: "soma model import ./SmolLM2-135M smollm2",
    async run(env, [dir = "", name = ""]) {
      const row = await (await env.soma()).model.importDir({ dir: resolve(dir), name });
      return { json: row, text: `${row.name}@${row.version}: ${row.architecture}, ${row.parameters} parameters` };
    },
  },
  {
    name: "model export",
    args: "<model> <dir>",
    what: "copy a model's files into a folder",
    example: "soma model export default ./out",
    async run(env, [model = "", dir = ""]) {
      const { files } = await (await env.soma()).model.export({ model, dir });
      return { json: { files }, text: files.join("\n") };
    },
  },
  {
    name: "model rm",
    args: "<model>",
    what: "delete a version that no alias names",
    example: "soma model rm tiny@1",
    async run(env, [model = ""]) {
      await (await env.soma()).model.remove({ model });
      return { json: {}, text: `${model} removed` };
    },
  },
  {
    name: "train",
    args: "<data>",
    what: "train a model on a JSONL file, or on data:NAME",
    example: "soma train pairs.jsonl --name mine --deploy mine",
    options: [
      ["--name <name>", "of the model", "mine"],
      ["--deploy <alias>", "deploy under this alias at the end"],
      ["--hyper <json>", 'hyperparameters, such as {"steps":200}', "{}"],
      ["--config <json>", "of the architecture", "{}"],
      ["--seed <n>", "random seed", "1"],
    ],
    async run(env, [from = ""], options) {
      const soma = await env.soma();
      const data = from === "builtin" || from.startsWith("data:") ? from : await upload(soma, from);
      const { job } = await soma.model.train({
        name: String(options.name),
        data,
        hyper: json(options.hyper, "--hyper"),
        config: json(options.config, "--config"),
        seed: Number(options.seed),
        ...(options.deploy ? { deploy: String(options.deploy) } : {}),
      } as Input<"model.train">);
      return followJob(env, job);
    },
  },
  {
    name: "generate",
    args: "<prompt...>",
    what: "continue a text",
    example: 'soma generate "今天天气很好"',
    options: [
      ["--model <name>", "which model", "default"],
      ["--max <count>", "new tokens at most"],
      ["--temperature <t>", "0 is greedy", "0"],
      ["--seed <n>", "random seed"],
      ["--chat", "as a chat message"],
    ],
    async run(env, words, { model, max, temperature, seed, chat }) {
      const prompt = words.join(" ");
      const stream = (await env.soma()).model.generate(
        {
          model: String(model),
          ...(chat ? { messages: [{ role: "user", content: prompt }] } : { prompt }),
          ...(max ? { maxTokens: Number(max) } : {}),
          sample: { temperature: Number(temperature), ...(seed ? { seed: Number(seed) } : {}) },
        },
        { signal: env.signal },
      );
      for await (const { text } of stream) if (!env.json) env.out(text);
      const end = await stream.result;
      return { json: end, text: "" };
    },
  },
];

/** Sends a file as a blob; returns its reference. */
async function upload(soma: Soma, file: string): Promise<string> {
  const size = fileSize(file);
  const stream = soma.memory.write({ size });
  await stream.upload(createReadStream(file, { highWaterMark: LIMITS.chunk }));
  return (await stream.result).blob;
}

function fileSize(file: string): number {
  try {
    return statSync(file).size;
  } catch (cause) {
    throw new SomaError("ENOENT", `no file ${file}`, { cause });
  }
}

function json(text: unknown, option: string): Record<string, unknown> {
  try {
    return JSON.parse(String(text)) as Record<string, unknown>;
  } catch (cause) {
    throw new SomaError("EINVAL", `${option} must be JSON, such as '{"steps":200}'`, { cause });
  }
}
