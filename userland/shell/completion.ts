// Owns what may come after the words so far: commands, and names that exist now for the argument that is due.
import { isSomaError } from "../../kernel/abi/errors.ts";
import { POLICIES } from "../../kernel/abi/syscalls/scheduler.ts";
import type { Soma } from "../sdk/soma.ts";
import { COMMANDS, type Session } from "./program.ts";

const processes = async (soma: Soma) => (await soma.kernel.ps({})).processes.map(({ id }) => id);
const sequences = async (soma: Soma) => (await soma.scheduler.queue({})).sequences.map(({ id }) => id);

/** Arguments, by their name in a command's syntax. */
const NAMES: Record<string, (soma: Soma) => Promise<readonly string[]> | readonly string[]> = {
  id: processes,
  service: processes,
  actor: processes,
  running: sequences,
  call: () => ["last"],
  model: async (soma) => (await soma.model.list({})).models.flatMap(({ name, aliases }) => [name, ...aliases]),
  job: async (soma) => (await soma.model.jobs({})).jobs.map(({ id }) => id),
  app: async (soma) => (await soma.auth.apps({})).apps.map(({ app }) => app),
  device: async (soma) => [...new Set((await soma.scheduler.parts({})).parts.map(({ device }) => device))],
  policy: () => POLICIES,
  key: async (soma) => (await soma.memory.keys({})).keys,
};

/** [whole words with a space after them, what of the line they replace]. */
export async function complete(line: string, session: Pick<Session, "soma">): Promise<[string[], string]> {
  const parts = line.trimStart().split(/\s+/);
  const last = parts.at(-1) ?? "";
  const before = parts.slice(0, -1);
  const deeper = COMMANDS.map(({ name }) => name.split(" "))
    .filter((words) => words.length > before.length && before.every((word, i) => word === words[i]))
    .map((words) => words[before.length]!);
  const names = [...deeper, ...(await existing(before, session))];
  return [[...new Set(names)].filter((name) => name.startsWith(last)).map((name) => `${name} `), last];
}

/** Names for the argument after these words. What cannot be asked for now is none. */
async function existing(before: readonly string[], session: Pick<Session, "soma">): Promise<readonly string[]> {
  const [command] = COMMANDS.filter(({ name }) => name.split(" ").every((word, i) => word === before[i])).sort(
    (a, b) => b.name.length - a.name.length,
  );
  if (command?.args === undefined) return [];
  const given = before.slice(command.name.split(" ").length).filter((word) => !word.startsWith("-")).length;
  const wanted = /[\w]+/.exec(command.args.split(" ")[given] ?? "")?.[0] ?? "";
  const ask = NAMES[wanted];
  if (ask === undefined) return [];
  try {
    return await ask(await session.soma());
  } catch (error) {
    if (!isSomaError(error)) throw error;
    return [];
  }
}
