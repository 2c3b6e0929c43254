// Owns the PyTorch peers: starts a script beside this file in the first Python that imports torch, and talks to it by lines.
import { spawn } from "node:child_process";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

export interface Torch {
  version: string;
  /** One line there, one line back. */
  ask(line: string): Promise<string>;
  stop(): void;
}

/** Undefined where no Python has torch. */
export async function startTorch(script: string, parameters: unknown[]): Promise<Torch | undefined> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  // Left to itself OpenBLAS takes the best kernels for this processor; these two may be set to work around another program.
  const { OPENBLAS_CORETYPE: _kernels, OPENBLAS_L2_SIZE: _cache, ...env } = process.env;
  for (const python of [process.env.SOMA_PYTHON, "python3", "/usr/bin/python3"]) {
    if (!python) continue;
    const child = spawn(python, [file, ...parameters.map((one) => JSON.stringify(one))], { env });
    // One that is not there ends its output, too.
    child.on("error", () => {});
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value: ready } = await lines.next();
    if (!ready) continue;
    return {
      version: ready.split(" ")[1]!,
      async ask(line) {
        child.stdin.write(`${line}\n`);
        const { value: answer } = await lines.next();
        if (!answer) throw new Error(`${script} ended: ${complaint}`);
        return answer;
      },
      stop: () => child.stdin.end(),
    };
  }
  return undefined;
}
