// Owns the commands about which version people get.
import { readFileSync } from "node:fs";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Input, Output } from "../../../kernel/abi/syscalls.ts";
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";
import { clock } from "../render/units.ts";

type Row = Output<"model.rollouts">["rollouts"][number];

export const rolloutCommands: Command[] = [
  {
    name: "model promote",
    args: "<model>",
    what: "point an alias at a version once it passed a gate",
    example: "soma model promote mine@2 --alias prod --gate suite.json",
    options: [
      ["--alias <name>", "which alias", "default"],
      ["--gate <file>", "a JSON list of checks: docs/rollout.md"],
      ["--dtype <type>", "f32, int8 or int4"],
    ],
    async run(env, [model = ""], { alias, gate, dtype }) {
      const done = await (await env.soma()).model.promote(
        {
          ...{ model, alias: String(alias), gate: gate ? suite(String(gate)) : [] },
          ...(dtype ? { dtype: dtype as "f32" } : {}),
        },
        { signal: env.signal },
      );
      const rows = done.checks.map((check) => [
        check.metric,
        `${check.data} ${check.split}`,
        check.cases,
        check.value.toFixed(4),
        `${check.low.toFixed(3)} to ${check.high.toFixed(3)}`,
        check.why,
      ]);
      const measured = rows.length === 0 ? "" : table(["METRIC", "DATA", ">CASES", ">VALUE", "95 %", "PASSED"], rows);
      return { json: done, text: `${measured}${line(done.rollout)}` };
    },
  },
  {
    name: "model canary",
    args: "<alias> <model>",
    what: "let some requests for an alias run on another version, and compare",
    example: "soma model canary prod mine@3 --share 10 --promote-after 1000",
    options: [
      ["--share <percent>", "of all requests", "10"],
      ["--apps <names>", "all requests of these apps as well"],
      ["--dtype <type>", "f32, int8 or int4"],
      ["--requests <count>", "so many say something", "50"],
      ["--failures <percent>", "rolled back when so many more fail", "2"],
      ["--slower <times>", "rolled back when so much slower", "2"],
      ["--promote-after <count>", "promoted after so many requests"],
    ],
    async run(env, [alias = "", model = ""], options) {
      const after = options.promoteAfter;
      const row = await (await env.soma()).model.canary(
        {
          ...{ alias, model, share: figure(options.share, "--share") / 100 },
          apps: String(options.apps ?? "")
            .split(",")
            .filter((app) => app !== ""),
          ...(options.dtype ? { dtype: options.dtype as "f32" } : {}),
          rule: {
            requests: figure(options.requests, "--requests"),
            failures: figure(options.failures, "--failures") / 100,
            slower: figure(options.slower, "--slower"),
            ...(after ? { promoteAfter: figure(after, "--promote-after") } : {}),
          },
        },
        { signal: env.signal },
      );
      return { json: row, text: line(row) };
    },
  },
  {
    name: "model rollback",
    args: "<alias>",
    what: "take a canary away, or an alias back to what it was before",
    example: "soma model rollback prod",
    async run(env, [alias = ""]) {
      const row = await (await env.soma()).model.rollback({ alias });
      return { json: row, text: line(row) };
    },
  },
  {
    name: "model rollouts",
    what: "list aliases, their canaries and how both sides do",
    example: "soma model rollouts",
    async run(env) {
      const { rollouts } = await (await env.soma()).model.rollouts({});
      const pair = (ms: [number, number] | null) => (ms === null ? "" : `${ms[0].toFixed(1)}/${ms[1].toFixed(1)}`);
      const rows = rollouts.flatMap((row) => [
        [row.alias, `${row.model}@${row.version}`, "", row.previous ?? "", "", "", ""],
        ...row.arms.map((arm, side) => [
          "",
          `${arm.model}@${arm.version}`,
          side === 0 ? "" : `${(100 * (row.canary?.share ?? 0)).toFixed(0)} % ${row.canary?.apps.join(" ") ?? ""}`,
          "",
          arm.requests,
          arm.failures,
          pair(arm.tokenMs),
        ]),
      ]);
      const header = ["ALIAS", "MODEL", "CANARY", "BEFORE", ">REQUESTS", ">FAILED", ">MS/TOKEN"];
      return { json: rollouts, text: table(header, rows) };
    },
  },
];

function line(row: Row): string {
  const last = row.last ? `${row.last.what} ${row.last.why} (${clock(row.last.at)})` : "";
  return `${row.alias} is ${row.model}@${row.version}; ${last}`;
}

function suite(file: string): NonNullable<Input<"model.promote">["gate"]> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new SomaError("ENOENT", `no file ${file}`, { cause });
  }
  try {
    return JSON.parse(text) as NonNullable<Input<"model.promote">["gate"]>;
  } catch (cause) {
    throw new SomaError("EINVAL", `${file} is not JSON: write [{"metric": "chrf", "min": 30}]`, { cause });
  }
}

function figure(text: unknown, option: string): number {
  const value = Number(text);
  if (Number.isFinite(value)) return value;
  throw new SomaError("EINVAL", `${option} is ${text}: use a number`);
}
