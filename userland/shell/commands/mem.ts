// Owns the commands that look at what apps remember.
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";
import { bytes } from "../render/units.ts";

const OF = ["--of <namespace>", "whose: an app's name; default: your own"] as const;
const named = (of: unknown) => (of === undefined ? {} : { namespace: String(of) });

export const memCommands: Command[] = [
  {
    name: "mem ls",
    args: "[prefix]",
    what: "list who remembers what, or with --of the keys and collections of one",
    example: "soma mem ls --of notes",
    options: [OF],
    async run(env, [prefix = ""], { of }) {
      const soma = await env.soma();
      if (of === undefined && prefix === "") {
        const { namespaces } = await soma.memory.namespaces({});
        const rows = namespaces.map((n) => [n.namespace, n.keys, n.rows, bytes(n.bytes)]);
        return { json: namespaces, text: table(["NAMESPACE", ">KEYS", ">ROWS", ">SIZE"], rows) };
      }
      const [{ keys }, { collections }] = await Promise.all([
        soma.memory.keys({ prefix, ...named(of) }),
        soma.memory.collections(named(of)),
      ]);
      const rows = [
        ...keys.map((key) => ["key", key]),
        ...collections.map((c) => ["collection", c.collection, c.rows, bytes(c.bytes)]),
      ];
      return { json: { keys, collections }, text: table(["KIND", "NAME", ">ROWS", ">SIZE"], rows) };
    },
  },
  {
    name: "mem get",
    args: "<key>",
    what: "show a remembered value",
    example: "soma mem get chat.last --of chat",
    options: [OF],
    async run(env, [key = ""], { of }) {
      const found = await (await env.soma()).memory.get({ key, ...named(of) });
      return { json: found, text: JSON.stringify(found.value, null, 2) };
    },
  },
  {
    name: "mem search",
    args: "<words...>",
    what: "find rows of a collection by their words",
    example: "soma mem search weather --in default",
    options: [OF, ["--in <collection>", "which collection", "default"], ["-n, --limit <count>", "rows at most", "5"]],
    async run(env, words, { of, in: collection, limit }) {
      const input = { collection: String(collection), text: words.join(" "), limit: Number(limit), ...named(of) };
      const { hits } = await (await env.soma()).memory.search(input);
      const rows = hits.map((hit) => [hit.score.toFixed(3), hit.id, hit.text]);
      return { json: hits, text: table([">SCORE", "ID", "TEXT"], rows) };
    },
  },
];
