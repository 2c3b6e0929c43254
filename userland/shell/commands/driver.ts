// Owns the commands about drivers that are installed on demand.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Command, Env } from "../command.ts";
import { driverFolders, FOLDERS, installDriver } from "../drivers.ts";
import { table } from "../render/table.ts";

interface Row {
  driver: string;
  /** null: built in, or the folders are another machine's. */
  installed: boolean | null;
  state: "chosen" | "ready" | "no" | "unknown";
  why: string;
}

/** `folders` is where the drivers lie. */
export const driverCommandsAt = (folders: string): Command[] => [
  {
    name: "driver ls",
    what: "list drivers: whether they are installed and work, or why not",
    example: "soma driver ls",
    async run(env) {
      const { from, rows } = await drivers(env, folders);
      const installed = ({ installed }: Row) => (installed === null ? "" : installed ? "yes" : "no");
      const states = table(
        ["DRIVER", "INSTALLED", "STATE"],
        rows.map((row) => [row.driver, installed(row), row.state]),
      );
      // Not a column: a reason that is cut off helps nobody.
      const reasons = rows.map(({ driver, why }) => `${driver}: ${why}`).join("\n");
      return { json: { from, drivers: rows }, text: `${states}\n\n${reasons}\n${from}` };
    },
  },
  {
    name: "driver install",
    args: "<name>",
    what: "install an optional driver's packages with npm",
    example: "soma driver install tfjs-node-gpu",
    async run(env, [name = ""]) {
      const progress = (line: string) => {
        if (!env.json && line.trim()) env.out(`  ${line}\n`);
      };
      const driver = await installDriver(name, { progress, signal: env.signal, folders });
      return {
        json: driver,
        text: `${name} is installed; "soma restart device" makes the device try it, "soma driver ls" says what came of it`,
      };
    },
  },
];

export const driverCommands = driverCommandsAt(FOLDERS);

/** As the device found them when it started; where no system answers, what the folders tell. */
async function drivers(env: Env, folders: string): Promise<{ from: string; rows: Row[] }> {
  const here = driverFolders(folders);
  try {
    const { device, drivers } = await (await env.soma()).device.list({});
    const rows = drivers.map(({ driver, ok, chosen, why }): Row => {
      const installed = here.find(({ name }) => name === driver)?.installed ?? null;
      return { driver, installed, state: chosen ? "chosen" : ok ? "ready" : "no", why };
    });
    return { from: `states are from ${device}, as of its start`, rows };
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    const rows = here.map(({ name, installed }): Row => {
      if (!installed) return { driver: name, installed, state: "no", why: `"soma driver install ${name}" installs it` };
      return { driver: name, installed, state: "unknown", why: "the device service tries it when it starts" };
    });
    rows.push({ driver: "wasm", installed: null, state: "unknown", why: "built in" });
    return { from: `from the folders only: ${error.message}`, rows };
  }
}
