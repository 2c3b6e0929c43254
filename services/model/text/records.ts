// Owns the JSONL form of training data: one object a line becomes one Example; a broken line is an error that names it.
import { SomaError } from "../../../kernel/abi/errors.ts";

/** One thing to learn: after `source`, under `task`, comes `target`. */
export interface Example {
  /** A task of the model's templates: "translate", "continue", ... "complete" has no marker: plain text goes on. */
  task: string;
  source: string;
  target: string;
  origin: string;
}

/** The three forms of a line: the fields that mark it -> how it becomes an example. The first form that fits is taken. */
const FORMS: { fields: readonly string[]; example: (line: Record<string, string>) => Omit<Example, "origin"> }[] = [
  { fields: ["source", "target", "task"], example: (l) => ({ task: l.task!, source: l.source!, target: l.target! }) },
  {
    fields: ["prompt", "completion"],
    example: (l) => ({ task: "complete", source: l.prompt!, target: l.completion! }),
  },
  { fields: ["text"], example: (l) => ({ task: "complete", source: "", target: l.text! }) },
];

/**
 * Examples of a JSONL text that arrives in pieces, in order. `name` is what errors call the file; `origin` stands in
 * where a line has none. Blank lines count but give nothing. EINVAL names the first line that is no example.
 */
export async function* readExamples(
  pieces: Iterable<string> | AsyncIterable<string>,
  name: string,
  origin = "user",
): AsyncGenerator<Example> {
  for await (const { line, number } of readLines(pieces)) yield parseLine(line, `${name}:${number}`, origin);
}

/** No example is that long; a file without line ends must not fill the memory. */
const LINE = 4 * 1024 * 1024;

/** Lines that are not blank, with their numbers from 1. EINVAL for one of more than 4 million characters. */
export async function* readLines(
  pieces: Iterable<string> | AsyncIterable<string>,
): AsyncGenerator<{ line: string; number: number }> {
  let rest = "";
  let number = 0;
  for await (const piece of pieces) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (++number && line.trim()) yield { line, number };
    if (rest.length > LINE)
      throw new SomaError(
        "EINVAL",
        `line ${number + 1} has more than ${LINE} characters: put one JSON object on each line`,
      );
  }
  if (rest.trim()) yield { line: rest, number: number + 1 };
}

/** The same for a text that is at hand. */
export function parseExamples(text: string, name: string, origin = "user"): Example[] {
  return text.split("\n").flatMap((line, i) => (line.trim() ? [parseLine(line, `${name}:${i + 1}`, origin)] : []));
}

/** One line; EINVAL says what is wrong with it. `where` is what errors call it. */
export function parseLine(line: string, where: string, origin: string): Example {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new SomaError("EINVAL", `${where}: not JSON; put one JSON object on each line`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new SomaError(
      "EINVAL",
      `${where}: not a JSON object; write {"prompt": ..., "completion": ...} or {"text": ...}`,
    );
  }
  const fields = value as Record<string, unknown>;
  const form = FORMS.find((known) => known.fields.every((field) => field in fields));
  if (!form) {
    const forms = FORMS.map((known) => `{${known.fields.join(", ")}}`).join(", ");
    throw new SomaError(
      "EINVAL",
      `${where}: has {${Object.keys(fields).join(", ")}}; give it the fields of one of ${forms}`,
    );
  }
  const bad = [...form.fields, "origin"].find((field) => field in fields && typeof fields[field] !== "string");
  if (bad) throw new SomaError("EINVAL", `${where}: "${bad}" must be a string`);
  const example = form.example(fields as Record<string, string>);
  if (example.target === "")
    throw new SomaError("EINVAL", `${where}: nothing to learn, the target is empty; remove the line`);
  return { ...example, origin: (fields.origin as string | undefined) ?? origin };
}
