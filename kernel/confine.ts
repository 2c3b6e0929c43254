// Owns how an app is kept apart on this machine: one file made of it and the SDK, run under Node's permission model.
// It reads that file, its own folder and the packages that it names, writes nothing, starts no process, thread or native code. Node does not limit the network.
import { lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { BuildFailure, Plugin } from "esbuild";
import { SomaError } from "./abi/errors.ts";
import { ROOT } from "./launcher/node.ts";

/** Loaded from where it lies, for it starts a program that lies beside it. */
const { build } = createRequire(import.meta.url)("esbuild") as typeof import("esbuild");
const WATCH = fileURLToPath(new URL("launcher/watch.mjs", import.meta.url));

/** Makes `file` of an app: there is no compiler where it runs, for that would need a process. EINVAL when it cannot be compiled. */
export async function bundleApp(entry: string, file: string): Promise<void> {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    await build({
      entryPoints: [entry],
      outfile: file,
      bundle: true,
      platform: "node",
      format: "esm",
      target: "node20",
      charset: "utf8",
      sourcemap: "inline",
      sourcesContent: false,
      logLevel: "silent",
      alias: { "soma-os/sdk": join(ROOT, "userland/sdk/app.ts") },
      // CommonJS packages ask for Node's own modules by it.
      banner: { js: 'import { createRequire as $r } from "node:module"; const require = $r(import.meta.url);' },
      plugins: [addresses(dirname(entry))],
    });
  } catch (cause) {
    const [error] = (cause as Partial<BuildFailure>).errors ?? [];
    if (error === undefined) throw cause;
    const at = error.location ? `${error.location.file}:${error.location.line}: ` : "";
    throw new SomaError("EINVAL", `the app cannot be compiled: ${at}${error.text}`, { cause });
  }
}

/** Options of Node for an app in `folder` that was made into `file` and reads `packages`. */
export function confinement(folder: string, file: string, packages: readonly string[] = []): string[] {
  // Its name from Node 22.13 on; since Node 25 it covers the network as well, which an app needs to reach the broker.
  const flags = process.allowedNodeEnvironmentFlags;
  const permission = flags.has("--permission") ? "--permission" : "--experimental-permission";
  return [
    permission,
    ...(flags.has("--allow-net") ? ["--allow-net"] : []),
    "--disable-warning=ExperimentalWarning",
    "--enable-source-maps",
    ...[file, WATCH, ...readable(folder), ...packages.map((name) => join(ROOT, "node_modules", name))].map(
      (path) => `--allow-fs-read=${path}`,
    ),
  ];
}

/** What lies in an app's folder. Its packages are in the bundle. EINVAL for a link that leads out: Node would follow it. */
function readable(folder: string): string[] {
  const real = realpathSync(folder);
  const look = (path: string): void => {
    const status = lstatSync(path);
    if (status.isDirectory()) for (const name of readdirSync(path)) look(join(path, name));
    if (!status.isSymbolicLink() || realpathSync(path).startsWith(real + sep)) return;
    throw new SomaError("EINVAL", `${path} leads out of the app's folder: put a copy there instead`);
  };
  // A star would stand for anything.
  const names = readdirSync(real).filter((name) => name !== "node_modules" && !name.includes("*"));
  const paths = names.map((name) => join(real, name));
  for (const path of paths) look(path);
  return paths;
}

/** Each file of the app keeps its own address, from which it finds what lies beside it. */
function addresses(folder: string): Plugin {
  const inside = realpathSync(folder) + sep;
  return {
    name: "addresses",
    setup({ onLoad }) {
      onLoad({ filter: /\.(ts|js|mjs)$/ }, ({ path }) => {
        if (!path.startsWith(inside) || path.startsWith(`${inside}node_modules${sep}`)) return undefined;
        const own = JSON.stringify(pathToFileURL(path).href);
        const contents = readFileSync(path, "utf8").replace(/\bimport\.meta\.url\b/g, () => own);
        return { loader: path.endsWith(".ts") ? "ts" : "js", contents };
      });
    },
  };
}
