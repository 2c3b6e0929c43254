// Owns starting a TypeScript program of ours quickly: bundled once per change, then loaded without a compiler.
// Usage: run.mjs DIRECTORY PROGRAM [arguments]. A start costs a quarter of the processor time that it costs through tsx,
// and a restart is as quick as its start. JavaScript, because it runs before any loader.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SELF = fileURLToPath(import.meta.url);
const ROOT = resolve(dirname(SELF), "../..");
/** They start workers from files of their own, or are large and not always needed: loaded from where they lie. */
const APART = /^(@tensorflow\/|piscina$)/;
const NEEDED = new Set(["ENOENT", "ENOTDIR"]);
/** Workers of former bundles stay so long: a system that runs may start one yet. */
const KEPT_MS = 7 * 86_400_000;
/** A thread's program beside the file that starts it: bundled, too, for through tsx it would cost more than the whole service. */
const WORKER = /new URL\("(\.\/[\w/.]*worker)\.ts", import\.meta\.url\)/g;

/** What a file was like: a change of one of those that a bundle was made of voids it. Undefined if it is gone. */
function look(path) {
  try {
    const { mtimeMs, size } = statSync(path);
    return `${mtimeMs} ${size}`;
  } catch (error) {
    if (NEEDED.has(error.code)) return undefined;
    throw error;
  }
}

/** The bundle that a record names, if nothing has changed since. */
function kept(record) {
  let parsed;
  try {
    parsed = JSON.parse(readFileSync(record, "utf8"));
  } catch (error) {
    // None yet, or one that a full disk cut short.
    if (NEEDED.has(error.code) || error instanceof SyntaxError) return undefined;
    throw error;
  }
  const { file, workers, node, inputs } = parsed;
  const same = node === process.version && Object.entries(inputs).every(([path, was]) => look(path) === was);
  return { file, fresh: same && [file, ...workers].every((path) => look(path) !== undefined) };
}

/** Each file of ours keeps its own address, from which it finds what lies beside it; `worker` gives that of a worker's bundle. */
const addresses = (worker) => ({
  name: "addresses",
  setup(build) {
    build.onResolve({ filter: APART }, ({ path }) => ({ path: import.meta.resolve(path), external: true }));
    build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const text = readFileSync(path, "utf8");
      const bundled = new Map();
      for (const [start, name] of text.matchAll(WORKER))
        bundled.set(start, await worker(resolve(dirname(path), `${name}.ts`)));
      return {
        loader: "ts",
        contents: text
          .replace(WORKER, (start) => `new URL(${JSON.stringify(bundled.get(start))})`)
          .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
          .replace(/import\.meta\.resolve\("([^"]+)"\)/g, (_, name) => JSON.stringify(import.meta.resolve(name))),
      };
    });
  },
});

/** Bundles the program and the workers that it names, and records what of; returns the bundle's path. */
async function bundle(program, record, former) {
  const began = Date.now();
  const esbuild = await import("esbuild");
  const { file, sources, workers } = await compile(esbuild, program, record);
  await esbuild.stop();
  // What packages are like is what the lock file says.
  const paths = [...sources, join(ROOT, "package-lock.json"), SELF];
  const inputs = Object.fromEntries(paths.map((path) => [path, look(path)]));
  // One that was changed meanwhile may be in the bundle as it was before.
  if (paths.every((path) => (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? began) < began)) {
    replace(record, JSON.stringify({ file, workers, node: process.version, inputs }));
    if (former !== undefined && former !== file)
      for (const old of [former, `${former}.map`]) rmSync(old, { force: true });
    forget(record);
  }
  return file;
}

/** Writes the bundle of one program beside the record: its path, and our files that went into it and into its workers. */
async function compile(esbuild, program, record) {
  const sources = new Set();
  const workers = [];
  const worker = async (path) => {
    const made = await compile(esbuild, path, record);
    for (const source of made.sources) sources.add(source);
    workers.push(made.file, ...made.workers);
    return pathToFileURL(made.file).href;
  };
  const { outputFiles, metafile } = await esbuild.build({
    entryPoints: [program],
    absWorkingDir: ROOT,
    bundle: true,
    platform: "node",
    format: "esm",
    target: `node${process.versions.node}`,
    sourcemap: "external",
    sourcesContent: false,
    metafile: true,
    write: false,
    outdir: dirname(record),
    banner: {
      js: `import{createRequire as $require}from"node:module";const require=$require(${JSON.stringify(SELF)});`,
    },
    plugins: [addresses(worker)],
    logLevel: "error",
  });
  const [map, code] = outputFiles.sort((a, b) => Number(a.path.endsWith(".js")) - Number(b.path.endsWith(".js")));
  const file = `${record.slice(0, -".json".length)}-${createHash("sha256").update(code.contents).digest("hex").slice(0, 12)}.mjs`;
  for (const path of Object.keys(metafile.inputs))
    if (!path.includes("node_modules/")) sources.add(resolve(ROOT, path));
  replace(`${file}.map`, map.contents);
  replace(file, code.contents);
  return { file, sources, workers };
}

/** Removes bundles beside the record that are old; those of now have just been written. */
function forget(record) {
  const [directory, own] = [dirname(record), basename(record, ".json")];
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const changed = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (name.startsWith(`${own}-`) && changed < Date.now() - KEPT_MS) rmSync(path, { force: true });
  }
}

function replace(path, contents) {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, contents, { mode: 0o600 });
  renameSync(temporary, path);
}

/** Stacks speak of the sources. The map is read when the first one is asked for: at each start it would cost more than the program. */
function mapStacks(file) {
  let map;
  const inBundle = new RegExp(`${pathToFileURL(file).href.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}:(\\d+):(\\d+)`);
  Error.prepareStackTrace = (error, frames) => {
    const lines = frames.map((frame) =>
      `${frame}`.replace(inBundle, (place, line, column) => {
        map ??= new SourceMap(JSON.parse(readFileSync(`${file}.map`, "utf8")));
        const { originalSource, originalLine, originalColumn } = map.findEntry(line - 1, column - 1);
        if (originalSource === undefined) return place;
        return `${resolve(dirname(file), originalSource)}:${originalLine + 1}:${originalColumn + 1}`;
      }),
    );
    return [String(error), ...lines].join("\n    at ");
  };
}

const [directory, program] = process.argv.splice(1, 3).slice(1);
process.argv.splice(1, 0, program);
const record = join(directory, `${createHash("sha256").update(program).digest("hex").slice(0, 16)}.json`);
const found = kept(record);
const file = found?.fresh ? found.file : await bundle(program, record, found?.file);
mapStacks(file);
await import(pathToFileURL(file).href);
