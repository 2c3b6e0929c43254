// Owns the commands that read and check the audit.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Chunk } from "../../../kernel/abi/syscalls.ts";
import type { Command, Env } from "../command.ts";
import { table } from "../render/table.ts";
import { clock } from "../render/units.ts";
import { time } from "./grant.ts";

type AuditRecord = Chunk<"kernel.audit">["records"][number];
type Chain = Chunk<"kernel.verify">["chains"][number];

/** What happens to an honest system, too; see docs/audit.md. */
const HONEST = new Set<string>(["gap", "expired", "lost"]);

export const auditCommands: Command[] = [
  {
    name: "audit",
    what: "read who called what, with which outcome",
    example: "soma audit --app chat --since 1h",
    options: [
      ["--app <name>", "calls for or by this app"],
      ["--call <call>", "this call, or all of this service"],
      ["--code <code>", "with this outcome: OK or an error code"],
      ["--actor <instance>", "as this instance answered"],
      ["--since <time>", "not older than, such as 10m, 1h or 2d"],
      ["-n, --tail <count>", "as many of the newest", "50"],
      ["-f, --follow", "go on with new ones"],
    ],
    async run(env, _args, { app, call, code, actor, since, tail, follow }) {
      const words = { app, call, code, actor };
      const given = Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined));
      const stream = (await env.soma()).kernel.audit(
        {
          ...(given as { [key in keyof typeof words]?: string }),
          ...(since === undefined ? {} : { since: Date.now() - time(String(since)) }),
          tail: Number(tail),
          follow: follow === true,
        },
        { signal: env.signal },
      );
      for await (const { records } of stream)
        for (const record of records) env.out(env.json ? `${JSON.stringify(record)}\n` : `${line(record)}\n`);
      return undefined;
    },
  },
  {
    name: "audit verify",
    what: "find changed, missing, reordered and cut off records",
    example: "soma audit verify",
    run: verify,
  },
];

async function verify(env: Env) {
  const stream = (await env.soma()).kernel.verify({}, { signal: env.signal });
  const chains: Chain[] = [];
  for await (const chunk of stream) chains.push(...chunk.chains);
  const totals = await stream.result;
  const found = chains.flatMap((chain) => chain.findings.map((finding) => ({ chain, ...finding })));
  const rows = found.map(({ chain, what, first, last, text }) => [
    HONEST.has(what) ? "" : "!",
    what,
    chain.actor,
    chain.epoch,
    first === last ? first : `${first}-${last}`,
    text,
  ]);
  const told = rows.length === 0 ? "" : `${table(["", "WHAT", "ACTOR", ">EPOCH", ">RECORD", ""], rows)}\n\n`;
  const size = `${totals.records} records in ${totals.chains} chains`;
  env.out(
    env.json
      ? `${JSON.stringify({ ...totals, list: chains })}\n`
      : `${told}${size}: ${totals.faults === 0 ? "nothing was changed" : `${totals.faults} faults`}\n`,
  );
  if (totals.faults > 0) {
    const hint = "compare with a copy that you kept of an earlier --json";
    throw new SomaError("EIO", `the audit was tampered with, or its signatures are missing: ${hint}`);
  }
  return undefined;
}

/** `12:00:01 model-1 OK 12.3ms alice model.generate tiny@3 17 tokens`. */
function line(record: AuditRecord): string {
  const { at, actor, epoch, what, seq, times = 1 } = record;
  const start = `${clock(at)} ${actor.padEnd(11)} `;
  if (what === "lost") return `${start}LOST ${times} records: the broker was away too long`;
  if (what !== "call") return `${start}${what === "open" ? "epoch begins" : "epoch ends"}: ${epoch}, record ${seq}`;
  const { caller = "", principal = "", call = "", code = "", ms = 0, model, version, tokens, grant, prompt } = record;
  const who = principal === caller ? caller : `${principal} by ${caller}`;
  const facts = [
    ...(model === undefined ? [] : [version === undefined ? model : `${model.split("@")[0]}@${version}`]),
    ...(tokens === undefined ? [] : [`${tokens} tokens`]),
    ...(grant === undefined ? [] : [`grant ${grant}`]),
    ...(times > 1 ? [`${times} times`] : []),
    ...(prompt === undefined ? [] : [JSON.stringify(prompt)]),
  ];
  return `${start}${code.padEnd(12)} ${`${ms.toFixed(1)}ms`.padStart(9)}  ${call.padEnd(20)} ${[who, ...facts].join("  ")}`;
}
