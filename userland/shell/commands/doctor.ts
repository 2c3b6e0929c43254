// Owns the command that looks for what keeps Soma from working, with or without a running system.
import pc from "picocolors";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { homeDirectory } from "../../sdk/context.ts";
import type { Command, Env } from "../command.ts";
import { type Finding, fail, ok } from "../doctor/finding.ts";
import { brokerProgram, disk, driversHere, gpu, memory, nodeVersion, port, secrets } from "../doctor/machine.ts";
import { systemFindings } from "../doctor/system.ts";
import { wrap } from "../render/wrap.ts";

export const doctorCommands: Command[] = [
  {
    name: "doctor",
    what: "look for what is wrong with this machine and the system, and say what to do",
    example: "soma doctor",
    async run(env) {
      const home = homeDirectory();
      const here = [nodeVersion(), memory(), disk(home), secrets(home), await port(), gpu()];
      const findings = [...here, ...(await running(env, home))];
      const failed = findings.filter(({ state }) => state === "fail").length;
      const text = findings.map(line).join("\n");
      env.out(env.json ? `${JSON.stringify({ failed, findings })}\n` : `${text}\n`);
      return failed > 0 ? 1 : 0;
    },
  },
];

/** Of the system where one answers; where none runs, of what its start would need. */
async function running(env: Env, home: string): Promise<Finding[]> {
  try {
    return await systemFindings(await env.soma());
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    const start = [brokerProgram(home), driversHere()];
    if (error.code === "ENOENT") return [...start, ok("system", error.message)];
    return [...start, fail("system", `it does not answer: ${error.message}`, '"soma stop", then "soma start"')];
  }
}

const MARKS = { ok: pc.green("ok  "), warn: pc.yellow("warn"), fail: pc.red("FAIL") } as const;

function line({ check, state, what, todo }: Finding): string {
  const indent = " ".repeat(15);
  const told = wrap(what, 80 - indent.length).join(`\n${indent}`);
  const next = todo === undefined ? "" : `\n${indent}${wrap(`-> ${todo}`, 80 - indent.length).join(`\n${indent}   `)}`;
  return `${MARKS[state]} ${check.padEnd(9)} ${told}${next}`;
}
