// Owns the shape of a shell command and how its outcome is shown: text for people, JSON for programs.
import { CODES, SomaError } from "../../kernel/abi/errors.ts";
import type { Soma } from "../sdk/soma.ts";

export interface Shown {
  /** The documented, stable form of `--json`. */
  json: unknown;
  text: string;
}

/** As commander parses them. */
export type Options = Record<string, string | boolean | string[] | undefined>;

export interface Env {
  /** Connects on first use. */
  soma(): Promise<Soma>;
  signal: AbortSignal;
  json: boolean;
  /** In the REPL a command must not end the process. */
  interactive: boolean;
  out(text: string): void;
}

export interface Command {
  /** `model ls`: words, then commander's argument syntax. */
  name: string;
  args?: string;
  what: string;
  example: string;
  options?: readonly (readonly [flags: string, what: string, value?: string])[];
  /** Words after the first argument belong to an app. */
  passThrough?: boolean;
  run(env: Env, args: string[], options: Options): Promise<Shown | number | undefined>;
}

/** One line, and the process exit code of its kind. Our own bugs keep their trace. */
export function explain(error: unknown): { line: string; code: number } {
  if (error instanceof SomaError) {
    const later = error.retryAfterMs === undefined ? "" : ` (again in ${error.retryAfterMs} ms)`;
    return { line: `soma: ${error.code}: ${error.message}${later}`, code: CODES[error.code][3] };
  }
  throw error;
}
