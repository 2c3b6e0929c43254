// Owns the shell in tests: command lines run in this process, as the person of a system that the test started.
import { runLine, Session } from "../../userland/shell/program.ts";

interface Outcome {
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
  /** Begins a line; `signal` cancels it as Ctrl-C does. What it prints grows. */
  function start(words: string[], signal: AbortSignal) {
    const running = { out: "", err: "", code: Promise.resolve(0) };
    running.code = runLine(words, {
      ...{ session, signal, interactive: false },
      out: (text) => (running.out += text),
      err: (text) => (running.err += text),
    });
    return running;
  }
  async function run(words: string[]): Promise<Outcome> {
    const running = start(words, new AbortController().signal);
    const code = await running.code;
    return { ...running, code };
  }
  return {
    start,
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
