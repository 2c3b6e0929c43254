// Owns the commands about API keys: a key is a grant whose holder is called key-<name>.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { grantKey } from "../../sdk/keys.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";
import { LIMITING, wish } from "./grant.ts";

const PREFIX = "key-";
/** What the gateway does for a key. */
const CALLS = ["model.generate", "model.embed", "model.list", "model.tokenize", "auth.whoami"];

export const keyCommands: Command[] = [
  {
    name: "key create",
    args: "<name>",
    what: "make an API key for the gateway; it is shown once",
    example: "soma key create alice --model tiny --tokens 100k/day",
    options: LIMITING,
    async run(env, [name = ""], options) {
      const soma = await env.soma();
      if ((await keys(soma)).grants.some(({ holder }) => holder === PREFIX + name))
        throw new SomaError("EEXIST", `there is a key "${name}": end it with "soma key revoke ${name}"`);
      const { key, grant } = await grantKey(soma, wish(PREFIX + name, CALLS, options));
      return { json: { key, grant }, text: key };
    },
  },
  {
    name: "key ls",
    what: "list API keys, and what is left of their budgets",
    example: "soma key ls",
    async run(env) {
      const { grants, budgets } = await keys(await env.soma());
      const rows = grants.map(({ holder, caveats: { models }, expiresAt }) => [
        holder.slice(PREFIX.length),
        models?.join(" ") ?? "all",
        expiresAt === null ? "never" : new Date(expiresAt).toISOString(),
        budgets
          .filter((row) => row.holder === holder)
          .map(({ budget, left, amount }) => `${left} of ${amount} ${budget}`)
          .join(", ") || "unlimited",
      ]);
      return { json: { grants, budgets }, text: table(["KEY", "MODELS", "ENDS", "LEFT"], rows) };
    },
  },
  {
    name: "key revoke",
    args: "<name>",
    what: "end an API key at once",
    example: "soma key revoke alice",
    async run(env, [name = ""]) {
      const { revoked } = await (await env.soma()).auth.revoke({ holder: PREFIX + name });
      if (revoked.length === 0) throw new SomaError("ENOENT", `there is no key "${name}": see "soma key ls"`);
      return { json: { revoked }, text: `The key ${name} opens nothing any more.` };
    },
  },
];

async function keys(soma: Soma) {
  const { grants, budgets } = await soma.auth.apps({});
  const ours = grants.filter(({ holder }) => holder.startsWith(PREFIX));
  return { grants: ours, budgets: budgets.filter(({ holder }) => ours.some((grant) => grant.holder === holder)) };
}
