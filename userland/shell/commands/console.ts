// Owns the command that serves the web console: an app, run under its own identity like any other.
import type { Command } from "../command.ts";
import { CONSOLE, runApp } from "./app.ts";

export const consoleCommands: Command[] = [
  {
    name: "console",
    what: "show the system in a browser on this machine, until Ctrl-C",
    example: "soma console --port 11436",
    options: [["--port <number>", "where to listen; 0: any free one", "11436"]],
    async run(env, _args, { port }) {
      const { code } = await runApp(env, await env.soma(), CONSOLE, [`--port=${port}`], (_fd, data) => env.out(data));
      return code;
    },
  },
];
