// Owns the shell in tests: command lines run in this process, as the person of a system that the test started.
import { runLine, Session } from "../../userland/shell/program.ts";

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** `home`: of the system. One connection for all lines. */
export function openShell(home: string) {
  // Read again by each connection; tests run in processes of their own.
  process.env.SOMA_HOME = home;
  delete process.env.NATS_URL;
  const session = new Session();
  /** Runs a line to its end, or until `signal` cancels it as Ctrl-C does. */
  async function run(words: string[], signal = new AbortController().signal): Promise<Outcome> {
    const outcome = { code: 0, out: "", err: "" };
    outcome.code = await runLine(words, {
      ...{ session, signal, interactive: false },
      out: (text) => (outcome.out += text),
      err: (text) => (outcome.err += text),
    });
    return outcome;
  }
  return {
    run,
    /** What a command that must succeed prints. */
    async text(...words: string[]): Promise<string> {
      const { code, out, err } = await run(words);
      if (code !== 0) throw new Error(`soma ${words.join(" ")} ended with ${code}: ${err}`);
      return out;
    },
    async json(...words: string[]): Promise<any> {
      return JSON.parse(await this.text(...words, "--json"));
    },
    close: () => session.close(),
  };
}
