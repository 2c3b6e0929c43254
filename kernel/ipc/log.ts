// Owns logging: one JSON line per event, to stdout for the launcher's file and to the bus for `soma log`. Never a prompt, a token or a key.
import pino, { type Logger } from "pino";
import { encode } from "../abi/codec.ts";
import { subjects } from "../abi/subjects.ts";
import type { Bus } from "./bus.ts";

export type Log = Logger;

/** A logger of `actor`; lines of level info and above go to the bus as well. */
export function createLog(actor: string, bus?: Bus, fields: Record<string, unknown> = {}): Log {
  return pino(
    {
      base: { actor, ...fields },
      level: process.env.SOMA_LOG ?? "info",
      timestamp: pino.stdTimeFunctions.epochTime,
      messageKey: "message",
      formatters: { level: (label) => ({ level: label }) },
      redact: ["seed", "jwt", "prompt", "text", "messages", "*.seed", "*.jwt", "*.prompt", "*.text"],
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
