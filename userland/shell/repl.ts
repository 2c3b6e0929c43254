// Owns the prompt: history, completion of commands and of names that exist now; Ctrl-C cancels the running command, not the shell.
import { join } from "node:path";
import repl from "node:repl";
import pc from "picocolors";
import { homeDirectory } from "../sdk/context.ts";
import { explain } from "./command.ts";
import { complete } from "./completion.ts";
import { runLine, type Session, words } from "./program.ts";

/** Resolves when the person leaves. */
export function startRepl(session: Session): Promise<void> {
  let running: AbortController | undefined;
  const server = repl.start({
    prompt: pc.cyan("soma> "),
    ignoreUndefined: true,
    completer: (line: string, callback: (error: null, result: [string[], string]) => void) => {
      complete(line, session).then((result) => callback(null, result));
    },
    eval: (line, _context, _file, callback) => {
      running = new AbortController();
      evaluate(line, session, running.signal)
        .then(
          () => callback(null, undefined),
          (error) => callback(error as Error, undefined),
        )
        .finally(() => {
          running = undefined;
        });
    },
  });
  server.setupHistory(join(homeDirectory(), "history"), (error) => {
    if (error) process.stderr.write(`soma: no history: ${error.message}\n`);
  });
  // Node's own listener would leave at the second Ctrl-C, also when the first was for the running command.
  server.removeAllListeners("SIGINT");
  server.on("SIGINT", () => {
    if (running) return running.abort();
    server.write("", { ctrl: true, name: "e" });
    server.write("", { ctrl: true, name: "u" });
    process.stdout.write("^C\n");
    server.displayPrompt();
  });
  return new Promise((resolve) => server.once("exit", () => resolve()));
}

async function evaluate(line: string, session: Session, signal: AbortSignal): Promise<void> {
  let argv: string[];
  try {
    argv = words(line);
  } catch (error) {
    process.stderr.write(`${explain(error).line}\n`);
    return;
  }
  if (argv.length === 0) return;
  if (argv[0] === "help") argv = [...argv.slice(1), "--help"];
  await runLine(argv, {
    session,
    signal,
    interactive: true,
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
}
