// Owns the commands about what started, died and was restarted.
import type { Command } from "../command.ts";
import { deathOf, eventText, lastDeaths } from "../render/event.ts";
import { table } from "../render/table.ts";
import { clock, duration } from "../render/units.ts";

/** As many of the newest events are looked through for the last death of each service. */
const LOOKED = 2_000;

export const lifeCommands: Command[] = [
  {
    name: "services",
    what: "list services: whether each is well, and what ended it last",
    example: "soma services",
    async run(env) {
      const soma = await env.soma();
      const { processes } = await soma.kernel.ps({});
      const events = [];
      for await (const chunk of soma.kernel.events({ tail: LOOKED })) events.push(...chunk.events);
      const deaths = lastDeaths(events);
      const services = processes
        .filter(({ kind }) => kind === "service" || kind === "kernel")
        .map((one) => ({ ...one, ...(deaths.has(one.id) ? { last: deaths.get(one.id)! } : {}) }));
      const rows = services.map(({ id, state, epoch, restarts, uptimeMs, last }) => [
        ...[id, state, epoch || undefined, restarts, duration(uptimeMs)],
        ...(last === undefined ? [] : [clock(last.at), last.reason]),
      ]);
      return {
        json: services,
        text: table(["SERVICE", "STATE", ">EPOCH", ">RESTARTS", ">UP", "LAST END", "WHY"], rows),
      };
    },
  },
  {
    name: "events",
    args: "[actor]",
    what: "read what started, died and was restarted",
    example: "soma events -f model-1",
    options: [
      ["-f, --follow", "go on with new ones"],
      ["-n, --tail <count>", "look through as many old ones", "20"],
      ["--deaths", "only what died"],
    ],
    async run(env, [actor], { follow, tail, deaths }) {
      const stream = (await env.soma()).kernel.events(
        { follow: follow === true, tail: Number(tail) },
        { signal: env.signal },
      );
      for await (const { events } of stream)
        for (const event of events) {
          if (deaths === true && deathOf(event) === undefined) continue;
          const text = eventText(event);
          // `model` means all its instances.
          if (actor !== undefined && text.actor !== actor && text.actor.replace(/-\d+$/, "") !== actor) continue;
          env.out(
            env.json ? `${JSON.stringify(event)}\n` : `${clock(event.at)} ${text.actor.padEnd(12)} ${text.what}\n`,
          );
        }
      return undefined;
    },
  },
];
