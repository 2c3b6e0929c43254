// Owns the `soma` command: one line from argv, or the prompt when there is none.
import { setMaxListeners } from "node:events";
import { runLine, Session } from "./program.ts";
import { startRepl } from "./repl.ts";
import { prepareCommand, startCommand } from "./start.ts";

const argv = process.argv.slice(2);
const session = new Session();
const abort = new AbortController();
setMaxListeners(0, abort.signal);

if (argv.length === 0 && process.stdin.isTTY) {
  await session.soma().catch(() => undefined);
  await startRepl(session);
} else {
  // The first Ctrl-C cancels the running command; a second one ends us.
  if (argv[0] !== "start") process.once("SIGINT", () => abort.abort());
  process.exitCode = await runLine(
    argv.length === 0 ? ["--help"] : argv,
    {
      session,
      signal: abort.signal,
      interactive: false,
      out: (text) => process.stdout.write(text),
      err: (text) => process.stderr.write(text),
    },
    [startCommand, prepareCommand],
  );
}
await session.close();
process.exit();
