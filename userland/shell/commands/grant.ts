// Owns the commands about rights: give them, allow what an app asks for, take them back.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { syscall } from "../../../kernel/abi/syscalls.ts";
import { grantCreds, type Wish } from "../../sdk/grants.ts";
import type { Command, Options } from "../command.ts";

const MS: Record<string, number> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  hour: 3_600_000,
  minute: 60_000,
};

/** What limits a grant, as options. */
export const LIMITING = [
  ["--model <name...>", "models that it may use; default: all"],
  ["--max-tokens <count>", "new tokens of one call, at most"],
  ["--concurrency <count>", "requests at a time, over all its connections"],
  ["--tokens <budget>", "tokens in a window, such as 100k/day"],
  ["--device-seconds <budget>", "seconds of a device in a window, such as 60/hour"],
  ["--weight <number>", "share of the machine beside others, who have 1"],
  ["--expires <time>", "ends after, such as 1h"],
] as const;

export const grantCommands: Command[] = [
  {
    name: "app grant",
    args: "<holder>",
    what: "give rights, as a NATS creds file on stdout",
    example: "soma app grant bob --call model.generate --tokens 100k/day > bob.creds",
    options: [["--call <call...>", "calls that it may make, such as model.generate"], ...LIMITING],
    async run(env, [holder = ""], options) {
      const calls = options.call as string[] | undefined;
      if (!calls) throw new SomaError("EINVAL", `say which calls: soma app grant ${holder} --call model.generate`);
      const { creds, grant } = await grantCreds(await env.soma(), wish(holder, calls, options));
      return { json: { creds, grant }, text: creds.trimEnd() };
    },
  },
  {
    name: "app approve",
    args: "<app>",
    what: "allow what an installed app asks for",
    example: "soma app approve hello",
    async run(env, [app = ""]) {
      const soma = await env.soma();
      const { calls } = await soma.auth.approve({ app });
      return { json: { app, calls }, text: `${app} may now:\n${plain(calls)}` };
    },
  },
  {
    name: "app revoke",
    args: "<holder>",
    what: "take back a holder's grant and all that came from it",
    example: "soma app revoke bob",
    async run(env, [holder = ""]) {
      const { revoked } = await (await env.soma()).auth.revoke({ holder });
      if (revoked.length === 0) throw new SomaError("ENOENT", `"${holder}" has no grant: see "soma app ls"`);
      return { json: { revoked }, text: `${holder} may call nothing any more. Ended: ${revoked.join(", ")}` };
    },
  },
  {
    name: "app forget",
    args: "<app>",
    what: "remove an app with its grants and its data",
    example: "soma app forget hello",
    async run(env, [app = ""]) {
      const { revoked, deleted } = await (await env.soma()).auth.forget({ app });
      const text = `${app} is forgotten: its approval, ${revoked.length} grants, and ${deleted} values and blobs that it kept`;
      return { json: { revoked, deleted }, text };
    },
  },
];

/** What an app asks for, in plain words. */
export function asks(name: string, needs: readonly string[], models?: readonly string[]): string {
  if (needs.length === 0) return `${name} asks for nothing.`;
  return `${name} asks to${models ? ` (with the models ${models.join(", ")} only)` : ""}:\n${plain(needs)}`;
}

/** Rights in plain words, a line each: what the calls do; those that show what others do stand apart. */
export function plain(calls: readonly string[]): string {
  const entry = (call: string) => syscall(...(call.split(".") as [string, string]));
  const line = (call: string) => `  ${call.padEnd(18)} ${entry(call)?.what ?? ""}`;
  const seeing = calls.filter((call) => entry(call)?.right === "viewer");
  const own = calls.filter((call) => !seeing.includes(call));
  const warning = ["  and, of everybody, not of itself alone:"];
  return [...own.map(line), ...(seeing.length > 0 ? warning : []), ...seeing.map(line)].join("\n");
}

/** What a holder shall get, from the options in `LIMITING`. */
export function wish(holder: string, calls: string[], options: Options): Wish {
  const number = (key: string, name: string) =>
    options[key] === undefined ? {} : { [name]: count(String(options[key])) };
  return {
    holder,
    calls,
    caveats: {
      ...(options.model ? { models: options.model as string[] } : {}),
      ...number("maxTokens", "maxTokens"),
      ...number("concurrency", "concurrency"),
      ...number("weight", "weight"),
      ...(options.tokens === undefined ? {} : { tokens: budget(String(options.tokens)) }),
      ...(options.deviceSeconds === undefined ? {} : { deviceMs: seconds(String(options.deviceSeconds)) }),
    },
    ...(options.expires === undefined ? {} : { expiresMs: time(String(options.expires)) }),
  };
}

/** 5, 100k, 2m. */
export function count(text: string): number {
  const [, digits, unit = ""] = /^(\d+)(k|m)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new SomaError("EINVAL", `"${text}" is no number: use 500, 100k or 2m`);
  return Number(digits) * ({ k: 1_000, m: 1_000_000 }[unit.toLowerCase()] ?? 1);
}

/** 90s, 10m, 1h, 7d: in ms. */
export function time(text: string): number {
  const [, digits, unit = ""] = /^(\d*)(ms|s|m|h|d|day|hour|minute)$/.exec(text) ?? [];
  if (digits === undefined) throw new SomaError("EINVAL", `"${text}" is no time: use 500ms, 90s, 10m, 1h or 7d`);
  return Number(digits || 1) * MS[unit]!;
}

/** 60/hour or 0.5/minute: seconds of a device, as ms. */
export function seconds(text: string): { amount: number; windowMs: number } {
  const [amount = "", window = ""] = text.split("/");
  if (!/^\d+(\.\d+)?$/.test(amount)) throw new SomaError("EINVAL", `"${text}" is no time in a window: use 60/hour`);
  return { amount: Math.round(Number(amount) * 1_000), windowMs: time(window) };
}

/** 100k/day. */
export function budget(text: string): { amount: number; windowMs: number } {
  const [amount = "", window = ""] = text.split("/");
  return { amount: count(amount), windowMs: time(window) };
}
