// Compiles kernels/*.c into the committed .wasm files: `npm run kernels`. Needs clang-16 and lld-16, no libc.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { builds } from "./builds.ts";

const folder = path.dirname(fileURLToPath(import.meta.url));
const compiler = "clang-16";

// No contraction and no fast-math: what is summed in which order is written in the source, not chosen by the compiler.
const common = [
  ...["--target=wasm32", "-O3", "-nostdlib", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"],
  ...["-msimd128", "-mbulk-memory", "-mmutable-globals", "-Wall", "-Wextra", "-Werror"],
  ...["-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--export-dynamic", "-Wl,--export=__stack_pointer"],
  ...["-Wl,-z,stack-size=65536", "-Wl,--strip-all"],
];

/** Why the kernels cannot be compiled here, or undefined if they can. */
export function missingCompiler(): string | undefined {
  return spawnSync(compiler, ["--version"]).status === 0 ? undefined : `${compiler} is not on PATH`;
}

/** Compiles every binary into `target` and returns the paths. Throws with the compiler's message if the source is wrong. */
export function buildKernels(target: string): string[] {
  const sources = readdirSync(folder).filter((name) => name.endsWith(".c"));
  return builds.map(({ file, flags }) => {
    const output = path.join(target, file);
    // Compiled aside and renamed, so that a process that starts meanwhile never reads half a file.
    const partial = `${output}.${process.pid}.partial`;
    execFileSync(compiler, [...common, ...flags, "-o", partial, ...sources.sort()], { cwd: folder, stdio: "inherit" });
    refuseData(file, readFileSync(partial));
    chmodSync(partial, 0o644); // the linker marks it executable
    renameSync(partial, output);
    return output;
  });
}

// A data segment would be written at a fixed address, over whatever the memory's owner keeps there.
function refuseData(file: string, bytes: Uint8Array): void {
  const dataSection = 11;
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at++]!;
    let size = 0;
    for (let shift = 0, byte = 0x80; byte & 0x80; shift += 7) size |= ((byte = bytes[at++]!) & 0x7f) << shift;
    if (id === dataSection)
      throw new Error(`${file} has static data: move the constants into code or the caller's memory`);
    at += size;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const missing = missingCompiler();
  if (missing) throw new Error(`${missing}: install the Debian packages clang-16 and lld-16`);
  for (const file of buildKernels(folder)) console.log(path.relative(process.cwd(), file));
}
