// Owns how command lines become commands: one commander program for one-shot use and for each line of the REPL.
import { Command as Commander, CommanderError } from "commander";
import { SomaError } from "../../kernel/abi/errors.ts";
import { credentials } from "../sdk/context.ts";
import { connectSoma, type Soma } from "../sdk/soma.ts";
import { type Command, type Env, explain, type Options, type Shown } from "./command.ts";
import { appCommands } from "./commands/app.ts";
import { auditCommands } from "./commands/audit.ts";
import { callCommands } from "./commands/call.ts";
import { consoleCommands } from "./commands/console.ts";
import { contextCommands } from "./commands/context.ts";
import { dataCommands } from "./commands/data.ts";
import { doctorCommands } from "./commands/doctor.ts";
import { driverCommands } from "./commands/driver.ts";
import { gatewayCommands } from "./commands/gateway.ts";
import { grantCommands } from "./commands/grant.ts";
import { inspectCommands } from "./commands/inspect.ts";
import { jobCommands } from "./commands/job.ts";
import { keepCommands } from "./commands/keep.ts";
import { keyCommands } from "./commands/key.ts";
import { lifeCommands } from "./commands/life.ts";
import { memCommands } from "./commands/mem.ts";
import { metricsCommands } from "./commands/metrics.ts";
import { modelCommands } from "./commands/model.ts";
import { rightsCommands } from "./commands/rights.ts";
import { rolloutCommands } from "./commands/rollout.ts";
import { systemCommands } from "./commands/system.ts";
import { topCommands } from "./commands/top.ts";
import { traceCommands } from "./commands/trace.ts";

export const COMMANDS: readonly Command[] = [
  ...systemCommands,
  ...lifeCommands,
  ...topCommands,
  ...inspectCommands,
  ...callCommands,
  ...auditCommands,
  ...traceCommands,
  ...metricsCommands,
  ...modelCommands,
  ...rolloutCommands,
  ...dataCommands,
  ...jobCommands,
  ...doctorCommands,
  ...driverCommands,
  ...appCommands,
  ...grantCommands,
  ...rightsCommands,
  ...gatewayCommands,
  ...consoleCommands,
  ...keyCommands,
  ...memCommands,
  ...keepCommands,
  ...contextCommands,
];

/** Connections outlive a command in the REPL. */
export class Session {
  private connection: Promise<Soma> | undefined;
  context: string | undefined;

  soma(): Promise<Soma> {
    this.connection ??= Promise.resolve().then(() => connectSoma(credentials(this.context)));
    this.connection.catch(() => {
      this.connection = undefined;
    });
    return this.connection;
  }

  async close(): Promise<void> {
    const soma = await this.connection?.catch(() => undefined);
    await soma?.close();
  }
}

export interface Line {
  session: Session;
  signal: AbortSignal;
  interactive: boolean;
  out: (text: string) => void;
  err: (text: string) => void;
}

/** Runs one command line; returns the exit code. Never ends the process. */
export async function runLine(argv: readonly string[], line: Line, extra: readonly Command[] = []): Promise<number> {
  let code = 0;
  const program = build([...COMMANDS, ...extra], line, (result) => {
    code = result;
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError)
      return error.code.startsWith("commander.help") || error.code === "commander.version" ? 0 : 64;
    const { line: text, code: failed } = explain(error);
    line.err(`${text}\n`);
    return failed;
  }
}

function build(commands: readonly Command[], line: Line, done: (code: number) => void): Commander {
  const program = new Commander("soma").description("The shell of Soma, an operating system for language models.");
  const setup = (command: Commander) =>
    command.exitOverride().configureOutput({ writeOut: line.out, writeErr: line.err }).showHelpAfterError(false);
  setup(program)
    .enablePositionalOptions()
    .option("--context <name>", "a remote system: a name in $SOMA_HOME/contexts, or a file")
    .hook("preAction", (_this, action) => {
      line.session.context ??= program.opts().context as string | undefined;
      void action;
    });
  for (const command of commands) {
    const words = command.name.split(" ");
    const parent = words
      .slice(0, -1)
      .reduce(
        (at, word) => at.commands.find((c) => c.name() === word) ?? setup(at.command(word)).enablePositionalOptions(),
        program,
      );
    const existing = parent.commands.find((c) => c.name() === words.at(-1));
    const made = existing ?? setup(parent.command(words.at(-1)!));
    made
      .description(command.what)
      .option("--json", "as JSON, a stable form")
      .addHelpText("after", `\nExample:\n  ${command.example}`);
    if (command.args) made.arguments(command.args);
    for (const [flags, what, value] of command.options ?? []) made.option(flags, what, value);
    if (command.passThrough) made.passThroughOptions().allowUnknownOption();
    made.action(async (...all: unknown[]) => {
      const args = all
        .slice(0, -2)
        .flat()
        .filter((arg) => arg !== undefined) as string[];
      const options = all.at(-2) as Options;
      done(await act(command, args, options, line));
    });
  }
  return program;
}

async function act(command: Command, args: string[], options: Options, line: Line): Promise<number> {
  const json = options.json === true;
  const env: Env = {
    soma: () => line.session.soma(),
    signal: line.signal,
    json,
    interactive: line.interactive,
    out: line.out,
  };
  const result = await command.run(env, args, options);
  if (typeof result === "number") return result;
  if (result !== undefined) line.out(render(result, json));
  return 0;
}

function render(shown: Shown, json: boolean): string {
  return `${json ? JSON.stringify(shown.json) : shown.text}\n`;
}

/** Splits a line as a shell does: quotes and backslashes. */
export function words(text: string): string[] {
  const found: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (quote) {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && i + 1 < text.length) word += text[++i]!;
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= "";
    } else if (/\s/.test(char)) {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else if (char === "\\" && i + 1 < text.length) word = (word ?? "") + text[++i]!;
    else word = (word ?? "") + char;
  }
  if (quote) throw new SomaError("EINVAL", `a ${quote} is not closed`);
  if (word !== undefined) found.push(word);
  return found;
}
