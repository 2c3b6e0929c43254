// Owns a log that says nothing: what happened is in the trace.
import type { Log } from "../../kernel/ipc/log.ts";

const nothing = () => {};

export const quiet = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
} as never as Log;
