// Owns the commands that show where the time of a call went.
import pc from "picocolors";
import type { Chunk } from "../../../kernel/abi/syscalls.ts";
import type { Command } from "../command.ts";
import { clock, duration } from "../render/units.ts";
import { breakdown, type Kind, rootOf, summary, waterfall } from "../render/waterfall.ts";
import { wrap } from "../render/wrap.ts";
import { time } from "./grant.ts";

type Call = Chunk<"kernel.traces">["calls"][number];

const COLORS: Record<Kind, (text: string) => string> = {
  prefill: pc.blue,
  decode: pc.green,
  queueing: pc.yellow,
  loading: pc.magenta,
  bus: pc.cyan,
  services: pc.dim,
};

export const traceCommands: Command[] = [
  {
    name: "trace",
    args: "<call>",
    what: "show where the time of a call went, over all services",
    example: "soma trace last",
    async run(env, [call = ""]) {
      const soma = await env.soma();
      const { trace, spans } = await soma.kernel.trace({ id: call === "last" ? await newest(soma) : call });
      const root = rootOf(spans);
      const head =
        root &&
        `${root.name} for ${root.principal ?? "?"}, ${clock(root.at)}, ${duration(root.ms)}, ${root.code ?? "unfinished"}\n`;
      const text = `${head ?? ""}trace ${trace}\n\n${waterfall(spans, (kind, bar) => COLORS[kind](bar))}\n\n${wrap(summary(spans), 80).join("\n")}`;
      return { json: { trace, spans, ms: breakdown(spans) }, text };
    },
  },
  {
    name: "trace ls",
    what: "list calls that have a trace: sampled, failed and slow ones",
    example: "soma trace ls --call model --over 100ms",
    options: [
      ["--call <call>", "this call, or all of this service"],
      ["--failed", "only those that failed"],
      ["--over <time>", "that took longer, such as 500ms or 2s"],
      ["-n, --tail <count>", "as many of the newest", "20"],
      ["-f, --follow", "go on with new ones"],
    ],
    async run(env, _args, { call, failed, over, tail, follow }) {
      const stream = (await env.soma()).kernel.traces(
        {
          ...(call === undefined ? {} : { call: String(call) }),
          failed: failed === true,
          overMs: over === undefined ? 0 : time(String(over)),
          tail: Number(tail),
          follow: follow === true,
        },
        { signal: env.signal },
      );
      for await (const { calls } of stream)
        for (const one of calls) env.out(env.json ? `${JSON.stringify(one)}\n` : `${line(one)}\n`);
      return undefined;
    },
  },
];

/** Calls that a device computes for. Where the time of any other went, nobody asks with "last". */
const COMPUTED = new Set(
  ["generate", "translate", "score", "classify", "embed", "evaluate"].map((one) => `model.${one}`),
);
/** As many of the newest calls are looked through. */
const LOOKED = 1_000;

/** The id of the newest call of a model that is over: what a person mostly means. ENOENT from the kernel when there is none. */
async function newest(soma: Awaited<ReturnType<Parameters<Command["run"]>[0]["soma"]>>): Promise<string> {
  let last = "last";
  for await (const { calls } of soma.kernel.traces({ call: "model", tail: LOOKED }))
    last = calls.findLast(({ name }) => COMPUTED.has(name))?.id ?? last;
  return last;
}

function line({ at, ms, code = "", id = "", name, principal = "" }: Call): string {
  return `${clock(at)} ${duration(ms).padStart(7)} ${code.padEnd(12)} ${name.padEnd(18)} ${principal.padEnd(12)} ${id}`;
}
