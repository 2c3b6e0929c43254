// Owns logging: one JSON line per event, to stdout for the launcher's file and to the bus for `soma log`. Never a prompt, a token or a key.
import pino, { type Logger } from "pino";
import { encode } from "../abi/codec.ts";
import { subjects } from "../abi/subjects.ts";
import type { Bus } from "./bus.ts";
import type { Request } from "./request.ts";

export type Log = Logger;

/** Names of fields that hold what a person wrote, what a model made of it, or what proves who one is. */
const SECRET = new Set(["seed", "jwt", "creds", "prompt", "text", "texts", "messages", "ids", "tokens"]);

/** `value` with each such field hidden, however deep it lies. pino's own redaction knows single paths only. */
function masked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(masked);
  if (value === null || typeof value !== "object" || value instanceof Error || ArrayBuffer.isView(value)) return value;
  const hide = (name: string, field: unknown) =>
    SECRET.has(name) && typeof field !== "number" ? "[Redacted]" : masked(field);
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, hide(name, field)]));
}

/** The fields of a line that has a request behind it: who asked what, and where the rest of its trace is. Nothing of its input. */
export function about({ caller, call, id, traceparent }: Pick<Request, "caller" | "call" | "id" | "traceparent">) {
  const [, trace] = traceparent.split("-");
  return { caller, call, id, ...(trace ? { trace } : {}) };
}

/** A logger of `actor`; lines of level info and above go to the bus as well. */
export function createLog(actor: string, bus?: Bus, fields: Record<string, unknown> = {}): Log {
  return pino(
    {
      base: { actor, ...fields },
      level: process.env.SOMA_LOG ?? "info",
      timestamp: pino.stdTimeFunctions.epochTime,
      messageKey: "message",
      formatters: { level: (label) => ({ level: label }), log: (given) => masked(given) as Record<string, unknown> },
    },
    {
      write(line: string) {
        process.stdout.write(line);
        if (bus?.connected) publish(bus, actor, line);
      },
    },
  );
}

function publish(bus: Bus, actor: string, line: string): void {
  const { time, level, actor: _, message, ...rest } = JSON.parse(line) as Record<string, unknown>;
  // The bus is closed at the very end of a stop; the line is in the file all the same.
  try {
    bus.publish(subjects.event(actor, "log"), encode({ at: time, level, actor, message: message ?? "", fields: rest }));
  } catch (error) {
    process.stdout.write(
      `${JSON.stringify({ level: "warn", actor, message: `log line not published: ${(error as Error).message}` })}\n`,
    );
  }
}
