// Owns the commands about one running call: why it waits, pausing it, letting it go on.
import type { Command } from "../command.ts";
import { wrap } from "../render/wrap.ts";

export const callCommands: Command[] = [
  {
    name: "why",
    args: "<running>",
    what: "say in a sentence why a request waits",
    example: "soma why ab12cd34",
    async run(env, [id = ""]) {
      const { why } = await (await env.soma()).scheduler.why({ id });
      return { json: { why }, text: wrap(why, 80).join("\n") };
    },
  },
  {
    name: "pause",
    args: "<running>",
    what: "stop a running call at its next token; its deadline goes on",
    example: "soma pause ab12cd34",
    async run(env, [id = ""]) {
      const done = await (await env.soma()).scheduler.pause({ id });
      return { json: done, text: `${done.id} is paused after ${done.newTokens} tokens; "soma resume" lets it go on` };
    },
  },
  {
    name: "resume",
    args: "<running>",
    what: "let a paused call go on, with the same tokens",
    example: "soma resume ab12cd34",
    async run(env, [id = ""]) {
      const done = await (await env.soma()).scheduler.resume({ id });
      return { json: done, text: `${done.id} goes on` };
    },
  },
];
