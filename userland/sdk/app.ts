// Owns how an app begins and ends: what it needs, its connection, its exit code. What an app imports.
import { CODES, SomaError } from "../../kernel/abi/errors.ts";
import type { CallName } from "../../kernel/abi/syscalls.ts";
import { appCredentials, credentials } from "./context.ts";
import { connectSoma, type Soma } from "./soma.ts";

export interface Manifest {
  name: string;
  /** What it does, one line. */
  what: string;
  usage: string;
  /** Calls that it makes; the person approves them once. */
  needs: string[];
}

export interface AppContext {
  soma: Soma;
  args: string[];
  /** Options that began with "--", and `--json` among them. */
  flags: Record<string, string | true>;
  /** Aborts on Ctrl-C. */
  signal: AbortSignal;
  print: (text: string) => void;
}

export type { CallName, Soma };
export { SomaError };

/** Runs an app: as a child of the system under its own identity, or by hand under the person's. */
export function defineApp(app: Manifest & { main: (context: AppContext) => Promise<void> }): void {
  // A pipe takes what was printed in its own time: leaving before that would cut it off.
  void run(app).then((code) => process.stdout.write("", () => process.exit(code)));
}

async function run(app: Manifest & { main: (context: AppContext) => Promise<void> }): Promise<number> {
  const { args, flags } = parseArgs(process.argv.slice(2));
  if (flags.help) {
    process.stdout.write(`${app.name}: ${app.what}\n\nUsage: ${app.usage}\n`);
    return 0;
  }
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort());
  try {
    const soma = await connectSoma(appCredentials() ?? credentials());
    await app.main({ soma, args, flags, signal: abort.signal, print: (text) => process.stdout.write(text) });
    await soma.close();
    return 0;
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    process.stderr.write(`${app.name}: ${error.code}: ${error.message}\n`);
    return CODES[error.code][3];
  }
}

/** `--flag value`, `--flag=value`, `--flag`; everything after `--` is an argument. */
export function parseArgs(argv: readonly string[]): { args: string[]; flags: Record<string, string | true> } {
  const args: string[] = [];
  const flags: Record<string, string | true> = {};
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === "--") return { args: [...args, ...argv.slice(i + 1)], flags };
    const match = /^--([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(word);
    if (match === null) args.push(word);
    else if (match[2] !== undefined) flags[match[1]!] = match[2];
    else if (SWITCHES.has(match[1]!) || argv[i + 1] === undefined || argv[i + 1]!.startsWith("--"))
      flags[match[1]!] = true;
    else flags[match[1]!] = argv[++i]!;
  }
  return { args, flags };
}

const SWITCHES = new Set(["json", "help"]);
