// Owns taking nats-server from a newer Debian or Ubuntu suite, without installing anything or touching apt's own lists.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { isGoodEnough } from "../abi/broker.ts";
import { install, type Program } from "./cache.ts";

/** Suite names that a mirror always has, oldest first: the oldest good one needs the least of this machine. */
const SUITES: Record<string, readonly string[]> = { debian: ["stable", "testing", "unstable"], ubuntu: ["devel"] };
/** Where the package is in each distribution. */
const COMPONENTS: Record<string, string> = { debian: "main", ubuntu: "universe" };

const run = promisify(execFile);

export interface AptSource {
  mirror: string;
  signedBy: string | undefined;
}

/** The mirror of a distribution in apt's own sources, in either format; undefined when none is named. */
export function aptSource(distribution: string, files: readonly string[]): AptSource | undefined {
  for (const text of files) {
    // deb822: stanzas of "Key: value"; otherwise one "deb [options] mirror suite components" a line.
    for (const stanza of text.split(/\n\s*\n/)) {
      const field = (name: string) => stanza.match(new RegExp(`^${name}:[ \\t]*(\\S+)`, "im"))?.[1];
      const mirror = field("URIs");
      if (mirror && field("Types") === "deb" && isMirror(mirror, distribution))
        return { mirror, signedBy: field("Signed-By") };
    }
    for (const [, options = "", mirror = ""] of text.matchAll(/^deb[ \t]+(?:\[([^\]]*)\][ \t]+)?(\S+)/gm)) {
      if (isMirror(mirror, distribution)) return { mirror, signedBy: options.match(/signed-by=(\S+)/i)?.[1] };
    }
  }
  return undefined;
}

/** The archive itself: not its security part, nor somebody else's packages. */
function isMirror(url: string, distribution: string): boolean {
  return new RegExp(`/${distribution}/?$`).test(url);
}

function sourceFiles(): string[] {
  const read = (path: string) => {
    try {
      return [readFileSync(path, "utf8")];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  };
  const parts = "/etc/apt/sources.list.d";
  let names: string[] = [];
  try {
    names = readdirSync(parts).filter((name) => /\.(list|sources)$/.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return [...read("/etc/apt/sources.list"), ...names.sort().flatMap((name) => read(join(parts, name)))];
}

/** Fetches the package by private lists (`apt` checks its signature) and files the program. Throws when that fails. */
export async function fetchDebian(
  cache: string,
  scratch: string,
  options: { connectMs: number; say: (line: string) => void },
): Promise<Program> {
  const [distribution, source] =
    Object.keys(SUITES)
      .map((name) => [name, aptSource(name, sourceFiles())] as const)
      .find(([, s]) => s) ?? [];
  if (!distribution || !source) throw new Error("apt's sources name no Debian or Ubuntu mirror");
  const failures: string[] = [];
  for (const suite of SUITES[distribution]!) {
    try {
      return await fromSuite(cache, join(scratch, suite), source, suite, COMPONENTS[distribution]!, options);
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string };
      failures.push(`${suite}: ${(stderr || message).trim().split("\n")[0]}`);
    }
  }
  throw new Error(failures.join("; "));
}

async function fromSuite(
  cache: string,
  scratch: string,
  source: AptSource,
  suite: string,
  component: string,
  options: { connectMs: number; say: (line: string) => void },
) {
  for (const directory of ["lists/partial", "archives/partial"])
    mkdirSync(join(scratch, directory), { recursive: true });
  const list = join(scratch, "sources.list");
  const signed = source.signedBy ? `[signed-by=${source.signedBy}] ` : "";
  writeFileSync(list, `deb ${signed}${source.mirror} ${suite} ${component}\n`);
  const seconds = Math.max(1, Math.round(options.connectMs / 1000));
  const settings = {
    "Dir::Etc::sourcelist": list,
    "Dir::Etc::sourceparts": "-",
    "Dir::State::lists": join(scratch, "lists"),
    "Dir::Cache::archives": join(scratch, "archives"),
    "Dir::Cache::pkgcache": "",
    "Dir::Cache::srcpkgcache": "",
    "APT::Sandbox::User": "root",
    "APT::Update::Error-Mode": "any",
    "Acquire::Retries": 0,
    "Acquire::http::Timeout": seconds,
    "Acquire::https::Timeout": seconds,
    "Acquire::Languages": "none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
  };
  const flags = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const inScratch = { cwd: scratch, env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" } };

  options.say(`looking for nats-server in the package lists of ${suite}`);
  await run("apt-get", [...flags, "update"], inScratch);
  const { stdout } = await run("apt-cache", [...flags, "policy", "nats-server"], inScratch);
  const candidate = stdout.match(/Candidate: (?:\d+:)?(\d+\.\d+\.\d+)/)?.[1];
  if (!candidate) throw new Error("has no nats-server");
  if (!isGoodEnough(candidate)) throw new Error(`has nats-server ${candidate}, too old`);

  options.say(`fetching nats-server ${candidate} of ${suite}`);
  await run("apt-get", [...flags, "download", "nats-server"], inScratch);
  const package_ = readdirSync(scratch).find((name) => name.endsWith(".deb"));
  if (!package_) throw new Error("apt-get downloaded no package");
  await run("dpkg", ["-x", package_, "unpacked"], inScratch);
  const program = ["usr/sbin", "usr/bin"]
    .map((part) => join(scratch, "unpacked", part, "nats-server"))
    .find((path) => existsSync(path));
  if (!program) throw new Error(`${package_} holds no nats-server`);
  return install(cache, scratch, program);
}
