// Owns the command that serves OpenAI clients: the gateway is an app, run under its own identity like any other.
import type { Command } from "../command.ts";
import { GATEWAY, runApp } from "./app.ts";

export const gatewayCommands: Command[] = [
  {
    name: "gateway",
    what: "serve OpenAI clients over HTTP until Ctrl-C",
    example: "soma gateway --port 11435",
    options: [
      ["--port <number>", "where to listen; 0: any free one", "11435"],
      ["--host <address>", "where to listen", "127.0.0.1"],
      ["--timeout <seconds>", "a request may take so long", "600"],
      ["--cors <origin>", "let pages of this origin call it; default: none"],
    ],
    async run(env, _args, options) {
      const args = ["port", "host", "timeout", "cors"].flatMap((name) =>
        options[name] === undefined ? [] : [`--${name}=${String(options[name])}`],
      );
      const { code } = await runApp(env, await env.soma(), GATEWAY, args, (_fd, data) => env.out(data));
      return code;
    },
  },
];
