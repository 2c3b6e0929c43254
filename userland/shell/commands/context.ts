// Owns the remote systems that this machine knows: each is a name, an address and a credential (sdk/context.ts reads them).
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { credentials, homeDirectory, identity } from "../../sdk/context.ts";
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const directory = () => join(homeDirectory(), "contexts");

export const contextCommands: Command[] = [
  {
    name: "context add",
    args: "<name> <url> [file]",
    what: 'remember a system elsewhere, with its creds file ("-" or none: from stdin)',
    example: "soma context add lab nats://127.0.0.1:4222 person.creds",
    async run(_env, [name = "", url = "", file = "-"]) {
      if (!NAME.test(name)) throw new SomaError("EINVAL", `"${name}" is no name: use letters, digits, . _ -`);
      if (!URL.canParse(url))
        throw new SomaError("EINVAL", `"${url}" is no address: write it like nats://127.0.0.1:4222`);
      const text = readFileSync(file === "-" ? 0 : file, "utf8");
      identity(text, file === "-" ? "what came" : file);
      mkdirSync(directory(), { recursive: true, mode: 0o700 });
      const creds = join(directory(), `${name}.creds`);
      writeFileSync(creds, text, { mode: 0o600 });
      writeFileSync(join(directory(), `${name}.json`), `${JSON.stringify({ url, creds })}\n`, { mode: 0o600 });
      return { json: { name, url, creds }, text: `${name} is known: soma --context ${name} ps` };
    },
  },
  {
    name: "context ls",
    what: "list the systems elsewhere that are known here",
    example: "soma context ls",
    async run() {
      const files = existsSync(directory()) ? readdirSync(directory()) : [];
      const names = files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -".json".length));
      const known = names.map((name) => ({ name, url: credentials(name).url, as: credentials(name).name }));
      const rows = known.map(({ name, url, as }) => [name, url, as]);
      return { json: known, text: table(["NAME", "URL", "AS"], rows) };
    },
  },
  {
    name: "context rm",
    args: "<name>",
    what: "forget a system elsewhere, and its credential here",
    example: "soma context rm lab",
    async run(_env, [name = ""]) {
      const files = [`${name}.json`, `${name}.creds`].map((file) => join(directory(), file));
      if (!NAME.test(name) || !existsSync(files[0]!))
        throw new SomaError("ENOENT", `no context "${name}": see "soma context ls"`);
      for (const file of files) rmSync(file, { force: true });
      return { json: { name }, text: `${name} is forgotten here; its grant stands there until it is revoked` };
    },
  },
];
