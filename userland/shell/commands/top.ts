// Owns the command that shows live who uses the devices.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { serviceOf } from "../../../kernel/abi/names.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command, Env } from "../command.ts";
import { frame, frameText, type Look } from "../render/top.ts";
import { time } from "./grant.ts";

export const topCommands: Command[] = [
  {
    name: "top",
    what: "show live which app and which device does how much",
    example: "soma top --every 2s",
    options: [
      ["--once", "one look, then end: so it is, too, with --json and where there is no terminal"],
      ["--every <time>", "between two looks", "1s"],
    ],
    async run(env, _args, { once, every }) {
      const ms = time(String(every));
      const soma = await env.soma();
      if (once !== true && !env.json && process.stdout.isTTY) return await live(env, soma, ms);
      const before = await look(soma);
      await pause(ms, env.signal);
      const shown = frame(before, await look(soma));
      return { json: shown, text: frameText(shown) };
    },
  },
];

/** Asks every owner for what it has; a device that does not answer now is left out. */
async function look(soma: Soma): Promise<Look> {
  const { processes } = await soma.kernel.ps({});
  const instances = processes.filter(({ id, state }) => serviceOf(id) === "device" && state === "ready");
  const [policy, queue, { parts }, { devices: memory }, ...devices] = await Promise.all([
    soma.scheduler.policy({}),
    soma.scheduler.queue({}),
    soma.scheduler.parts({}),
    soma.memory.free({}),
    ...instances.map(({ id }) =>
      soma.device.list({}, { instance: id }).catch((error) => {
        if (!(error instanceof SomaError)) throw error;
        return undefined;
      }),
    ),
  ]);
  return { at: Date.now(), policy, queue, parts, memory, devices: devices.filter((one) => one !== undefined) };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/** Until Ctrl-C. Ink repaints in place; it loads only here. */
async function live(env: Env, soma: Soma, ms: number): Promise<undefined> {
  const [{ render, Text }, { createElement }] = await Promise.all([import("ink"), import("react")]);
  const shown = (text: string) => createElement(Text, { wrap: "truncate" }, text);
  let before = await look(soma);
  const screen = render(shown("looking ..."), { exitOnCtrlC: false, patchConsole: false });
  try {
    while (!env.signal.aborted) {
      await pause(ms, env.signal);
      if (env.signal.aborted) break;
      const now = await look(soma);
      screen.rerender(shown(frameText(frame(before, now), (process.stdout.rows || 24) - 1)));
      before = now;
    }
  } finally {
    screen.unmount();
  }
  return undefined;
}
