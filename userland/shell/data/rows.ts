// Owns turning files into JSONL lines: JSONL itself, CSV, Parquet, and texts, which are cut at blank lines.
import { createReadStream, readdirSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { parse } from "csv-parse";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { SomaError } from "../../../kernel/abi/errors.ts";

type Lines = AsyncGenerator<string>;

/** Characters of a text's paragraphs that stand together, at least, where it has so many. */
const PASSAGE = 1_000;
/** Rows of a Parquet file that are in memory at a time, at most. */
const ROWS = 1_000;

const READERS: Record<string, (path: string) => Lines> = {
  ".jsonl": jsonl,
  ".ndjson": jsonl,
  ".csv": (path) => csv(path, ","),
  ".tsv": (path) => csv(path, "\t"),
  ".parquet": parquet,
  ".txt": passages,
  ".md": passages,
};

export interface File {
  path: string;
  bytes: number;
}

/** The files of these paths that can be read, folders searched whole, in order of name. ENOENT, or EINVAL when there is none. */
export function findFiles(paths: readonly string[]): File[] {
  const found = paths.flatMap((path) => walk(path));
  if (found.length === 0)
    throw new SomaError("EINVAL", `nothing to read in ${paths.join(", ")}: use ${Object.keys(READERS).join(", ")}`);
  return found;
}

function walk(path: string): File[] {
  let stat: ReturnType<typeof statSync>;
  try {
    stat = statSync(path);
  } catch (cause) {
    throw new SomaError("ENOENT", `no file ${path}`, { cause });
  }
  if (!stat.isDirectory()) {
    if (readerOf(path)) return [{ path, bytes: stat.size }];
    throw new SomaError("EINVAL", `${path}: unknown kind of file: use ${Object.keys(READERS).join(", ")}`);
  }
  const names = readdirSync(path, { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile() && readerOf(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
    .map((file) => ({ path: file, bytes: statSync(file).size }));
}

function readerOf(path: string): ((path: string) => Lines) | undefined {
  return READERS[extname(path).toLowerCase()];
}

/** A file's rows as JSON lines, each with its line end. EINVAL names the file and what is wrong with it. */
export function readRows({ path }: File): Lines {
  return readerOf(path)!(path);
}

async function* jsonl(path: string): Lines {
  let last = "\n";
  for await (const piece of createReadStream(path, "utf8")) {
    yield piece as string;
    last = (piece as string).at(-1) ?? last;
  }
  if (last !== "\n") yield "\n";
}

/** The first line names the columns. */
async function* csv(path: string, delimiter: string): Lines {
  const rows = createReadStream(path).pipe(parse({ columns: true, bom: true, delimiter, skip_empty_lines: true }));
  try {
    for await (const row of rows) yield `${JSON.stringify(row)}\n`;
  } catch (cause) {
    throw new SomaError("EINVAL", `${path}: ${(cause as Error).message}`, { cause });
  }
}

async function* parquet(path: string): Lines {
  const file = await asyncBufferFromFile(path);
  try {
    const metadata = await parquetMetadataAsync(file);
    const rows = Number(metadata.num_rows);
    for (let rowStart = 0; rowStart < rows; rowStart += ROWS) {
      const rowEnd = Math.min(rows, rowStart + ROWS);
      for (const row of await parquetReadObjects({ file, metadata, rowStart, rowEnd }))
        yield `${JSON.stringify(row)}\n`;
    }
  } catch (cause) {
    throw new SomaError("EINVAL", `${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Whole paragraphs, a passage of them at a time. */
async function* passages(path: string): Lines {
  let rest = "";
  const text = (value: string) => `${JSON.stringify({ text: value })}\n`;
  for await (const piece of createReadStream(path, "utf8")) {
    rest += (piece as string).replaceAll("\r\n", "\n");
    for (;;) {
      const end = rest.indexOf("\n\n", PASSAGE);
      if (end < 0) break;
      yield text(rest.slice(0, end));
      rest = rest.slice(end).trimStart();
    }
  }
  if (rest.trim() !== "") yield text(rest);
}
