// Owns preparing texts on a thread of its own: learning a tokenizer takes seconds, and the service must go on beating and answering.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type Code, SomaError } from "../../kernel/abi/errors.ts";
import type { Recipe } from "./builtin/recipe.ts";
import type { TrainInput } from "./hyper.ts";
import { type Preparation, prepareText } from "./prepare.ts";
import type { Example } from "./text/records.ts";

interface Task {
  preparing: { recipe: Recipe; corpus: readonly Example[]; input: TrainInput };
}
type Answer = { made: Preparation } | { refused: { code: Code; message: string } };

/** `prepareText` elsewhere; ends early when `signal` aborts. */
export function prepareTextAside(
  recipe: Recipe,
  corpus: readonly Example[],
  input: TrainInput,
  signal: AbortSignal,
): Promise<Preparation> {
  const task: Task = { preparing: { recipe, corpus, input } };
  // A worker's own entry is read before any loader is there: it registers tsx, then imports this file.
  const entry = `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))}).then(({ register }) => { register(); return import(${JSON.stringify(import.meta.url)}); })`;
  const worker = new Worker(entry, { eval: true, workerData: task });
  const stop = () => void worker.terminate();
  signal.addEventListener("abort", stop, { once: true });
  return new Promise<Preparation>((resolve, reject) => {
    worker.once("message", (answer: Answer) => {
      if ("made" in answer) resolve(answer.made);
      else reject(new SomaError(answer.refused.code, answer.refused.message));
    });
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new SomaError("ECANCELED", `preparing ended early (exit ${code})`)));
  }).finally(() => signal.removeEventListener("abort", stop));
}

function answer({ recipe, corpus, input }: Task["preparing"]): Answer {
  try {
    return { made: prepareText(recipe, corpus, input) };
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    return { refused: { code: error.code, message: error.message } };
  }
}

if (!isMainThread && (workerData as Partial<Task> | null)?.preparing) {
  parentPort?.postMessage(answer((workerData as Task).preparing));
}
