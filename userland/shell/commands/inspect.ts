// Owns the command that shows what an actor does: its statechart, its last transitions, its context.
import pc from "picocolors";
import { tryDecode } from "../../../kernel/abi/codec.ts";
import { LIMITS } from "../../../kernel/abi/limits.ts";
import { subjects } from "../../../kernel/abi/subjects.ts";
import { transition } from "../../../kernel/abi/syscalls/common.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command, Env, Shown } from "../command.ts";
import { chartMermaid, chartTree, eventName, readChart } from "../render/statechart.ts";
import { clock } from "../render/units.ts";
import { ownerOf, show } from "./system.ts";

type Actor = Output<"kernel.inspect">["actors"][number];
type Transition = Actor["transitions"][number];

/** Transitions that are shown of those kept. */
const LAST = 10;

export const inspectCommands: Command[] = [
  {
    name: "inspect",
    args: "<service> [actor]",
    what: "show an actor's statechart with its current state, last transitions and context",
    example: "soma inspect model resident.tiny@1 --watch",
    options: [
      ["--mermaid", "the statechart as Mermaid source"],
      ["--watch", "then show each transition as it comes, until Ctrl-C"],
    ],
    async run(env, [service = "", actor], { mermaid, watch }) {
      const [owner, instance] = ownerOf(service);
      const soma = await env.soma();
      const call = { input: actor === undefined ? {} : { actor }, to: instance === undefined ? {} : { instance } };
      const { actors } = await soma.client.call(`${owner}.inspect` as "kernel.inspect", call.input, call.to);
      const shown = { json: actors, text: actors.map(mermaid === true ? asMermaid : asText).join("\n\n") };
      if (watch !== true) return shown;
      env.out(`${env.json ? JSON.stringify(actors) : shown.text}\n`);
      return await follow(env, soma, { owner, instance, actor });
    },
  },
];

function asText({ id, state, definition, transitions, context }: Actor): string {
  const chart = readChart(definition);
  return [
    `${pc.bold(id)}: ${show(state)}`,
    ...(chart === undefined ? [] : ["", chartTree(chart, show(state), (line) => pc.green(line))]),
    "",
    ...transitions.slice(-LAST).map(line),
    ...(isEmpty(context) ? [] : ["", contextText(context)]),
  ].join("\n");
}

function asMermaid({ id, state, definition }: Actor): string {
  const chart = readChart(definition);
  return `%% ${id}\n${chart === undefined ? "stateDiagram-v2" : chartMermaid(chart, show(state))}`;
}

function line({ at, actor, event, from, to }: Transition): string {
  const change = from === to ? `stays ${to}` : `${from || "-"} -> ${to}`;
  return `${clock(at)}  ${actor}: ${change}  on ${eventName(event)}`;
}

const isEmpty = (context: unknown) =>
  context === undefined || context === null || (typeof context === "object" && Object.keys(context).length === 0);

/** `name: value` on a line each, cut to the width: --json has all. */
function contextText(context: unknown): string {
  return Object.entries(context as Record<string, unknown>)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
    .map((text) => (text.length > 80 ? `${text.slice(0, 77)}...` : text))
    .join("\n");
}

/** Transitions are published while somebody asks for it, by leases. Which instance's, where none is named: all of the service. */
async function follow(
  env: Env,
  soma: Soma,
  { owner, instance, actor }: { owner: string; instance: string | undefined; actor: string | undefined },
): Promise<Shown | undefined> {
  const from = instance ?? (owner === "kernel" ? owner : "*");
  const renew = async () => {
    await soma.client.call(`${owner}.watch` as "kernel.watch", {}, instance === undefined ? {} : { instance });
  };
  const subscription = soma.bus.subscribe(subjects.event(from, "transition"), ({ subject, data }) => {
    const { success, data: step } = transition.safeParse(tryDecode(data));
    const sender = subject.split(".")[1]!;
    if (!success || sender.replace(/-\d+$/, "") !== owner || (actor !== undefined && step.actor !== actor)) return;
    env.out(`${env.json ? JSON.stringify(step) : line(step)}\n`);
  });
  try {
    while (!env.signal.aborted) {
      await renew();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LIMITS.watchLease / 2);
        const wake = () => {
          clearTimeout(timer);
          resolve();
        };
        env.signal.addEventListener("abort", wake, { once: true });
      });
    }
  } finally {
    subscription.unsubscribe();
  }
  return undefined;
}
