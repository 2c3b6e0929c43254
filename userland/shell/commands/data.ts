// Owns the commands about data sets.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { LIMITS } from "../../../kernel/abi/limits.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Command } from "../command.ts";
import { type File, findFiles, readRows } from "../data/rows.ts";
import { transferBar } from "../render/progress.ts";
import { table } from "../render/table.ts";
import { bytes, clock } from "../render/units.ts";

type Row = Output<"model.showData">;
/** As services/model/data/build.ts writes it. */
interface Card {
  from: string;
  read: number;
  kept: number;
  dropped: Record<string, number>;
  examples: Record<string, string[]>;
  splits: Record<string, number>;
  characters: number;
  lengths: [number, number, number];
  languages: Record<string, number>;
  tasks: Record<string, number>;
  tokens?: { model: string; count: number };
}

export const dataCommands: Command[] = [
  {
    name: "data add",
    args: "<paths...>",
    what: "make a data set of JSONL, CSV, Parquet and text files",
    example: "soma data add corpus/ --name mine --languages eng,cmn",
    options: [
      ["--name <name>", "of the data set", "mine"],
      ["--min <characters>", "shorter rows are dropped", "1"],
      ["--max <characters>", "longer rows are dropped", "100000"],
      ["--languages <codes>", "ISO 639-3; rows in others are dropped"],
      ["--near <share>", "rows so similar to an earlier one are dropped; 0: equal ones", "0.8"],
      ["--against <names>", 'data sets whose tests must not be in it; "builtin"'],
      ["--model <name>", "whose tokenizer counts the tokens"],
    ],
    async run(env, paths, { name, min, max, languages, near, against, model }) {
      const files = findFiles(paths);
      const stream = (await env.soma()).model.addData(
        {
          name: String(name),
          from: paths.join(" ").slice(0, 256),
          minChars: figure(min, "--min"),
          maxChars: figure(max, "--max"),
          near: figure(near, "--near"),
          languages: names(languages),
          against: names(against),
          ...(model ? { model: String(model) } : {}),
        },
        { signal: env.signal },
      );
      const bar = transferBar();
      const total = files.reduce((sum, file) => sum + file.bytes, 0);
      try {
        // A refusal ends the request while pieces are still on the way: it is the error that counts.
        await Promise.all([
          stream.result,
          stream.upload(pieces(files, (file, done) => bar.update({ file, done, total }))),
        ]).catch(async (error) => {
          await stream.result;
          throw error;
        });
      } finally {
        bar.stop();
      }
      const row = await stream.result;
      return { json: row, text: `${row.ref}\n${cardText(row)}` };
    },
  },
  {
    name: "data ls",
    what: "list data sets",
    example: "soma data ls",
    async run(env) {
      const { sets } = await (await env.soma()).model.data({});
      const rows = sets.map((set) => [
        set.name,
        set.hash.slice(0, 12),
        set.rows,
        bytes(set.bytes),
        set.owner,
        clock(set.createdAt),
      ]);
      return { json: sets, text: table(["DATA", "HASH", ">ROWS", ">SIZE", "FOR", "SINCE"], rows) };
    },
  },
  {
    name: "data show",
    args: "<data>",
    what: "show a data set's card: what was kept, what was dropped and why",
    example: "soma data show mine",
    async run(env, [data = ""]) {
      const row = await (await env.soma()).model.showData({ data });
      return { json: row, text: cardText(row) };
    },
  },
  {
    name: "data cat",
    args: "<data>",
    what: "print a data set as JSONL",
    example: "soma data cat mine --split test --limit 5",
    options: [
      ["--split <name>", "train, validation or test alone"],
      ["--limit <count>", "so many rows at most"],
    ],
    async run(env, [data = ""], { split, limit }) {
      const input = {
        data,
        ...(split ? { split: split as "test" } : {}),
        ...(limit ? { limit: figure(limit, "--limit") } : {}),
      };
      const stream = (await env.soma()).model.readData(input, { signal: env.signal });
      const decoder = new TextDecoder();
      const rows: unknown[] = [];
      let rest = "";
      for await (const { data: piece } of stream) {
        const text = decoder.decode(piece, { stream: true });
        if (!env.json) env.out(text);
        else rest += text;
      }
      await stream.result;
      for (const line of rest.split("\n")) if (line !== "") rows.push(JSON.parse(line));
      return { json: rows, text: "" };
    },
  },
  {
    name: "data rm",
    args: "<data>",
    what: "delete a data set",
    example: "soma data rm mine",
    async run(env, [data = ""]) {
      await (await env.soma()).model.removeData({ data });
      return { json: {}, text: `${data} removed` };
    },
  },
];

/** The files' rows in pieces of an upload; tells how many bytes of the files were read. */
async function* pieces(files: readonly File[], tell: (file: string, done: number) => void): AsyncGenerator<Uint8Array> {
  let [waiting, done] = ["", 0];
  for (const file of files) {
    tell(file.path, done);
    for await (const line of readRows(file)) {
      waiting += line;
      if (waiting.length < LIMITS.chunk / 4) continue;
      yield* cut(waiting);
      waiting = "";
    }
    done += file.bytes;
    tell(file.path, done);
  }
  if (waiting !== "") yield* cut(waiting);
}

function* cut(text: string): Generator<Uint8Array> {
  const all = Buffer.from(text);
  for (let at = 0; at < all.length; at += LIMITS.chunk) yield all.subarray(at, at + LIMITS.chunk);
}

function cardText(row: Row): string {
  const card = row.card as unknown as Card;
  const share = (part: number, all: number) => `${part} (${((100 * part) / Math.max(1, all)).toFixed(1)} %)`;
  const list = (counts: Record<string, number>, all: number) =>
    Object.entries(counts)
      .sort(([, a], [, b]) => b - a)
      .slice(0, 6)
      .map(([name, count]) => `${name} ${share(count, all)}`)
      .join(", ");
  const asked = Object.values(card.languages).reduce((sum, count) => sum + count, 0);
  const rows = [
    ["from", card.from],
    ["kept", `${share(card.kept, card.read)} of ${card.read} rows, ${bytes(row.bytes)} in ${row.shards} shards`],
    ["splits", list(card.splits, card.kept)],
    [
      "characters",
      `${card.characters}; a row has ${card.lengths[0]}, ${card.lengths[1]}, ${card.lengths[2]} (least, median, most)`,
    ],
    [
      "tokens",
      card.tokens ? `${card.tokens.count}, counted as ${card.tokens.model} does` : "not counted: add it with --model",
    ],
    ["tasks", list(card.tasks, card.kept)],
    ["languages", list(card.languages, asked)],
    ...Object.entries(card.dropped).map(([reason, count]) => [
      `dropped, ${reason}`,
      `${count}; line ${card.examples[reason]?.[0] ?? ""}`,
    ]),
  ];
  return table(["", `${row.name} ${row.hash.slice(0, 12)}`], rows);
}

function names(list: unknown): string[] {
  return String(list ?? "")
    .split(",")
    .filter((name) => name !== "");
}

function figure(text: unknown, option: string): number {
  const value = Number(text);
  if (Number.isFinite(value)) return value;
  throw new SomaError("EINVAL", `${option} is ${text}: use a number`);
}
