// Owns where the system is and as whom to reach it: a named context, or the one on this machine.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import { parseCreds } from "../../kernel/ipc/jwt.ts";

export interface Credentials {
  url: string;
  name: string;
  jwt: string;
  seed: string;
}

/** The directory of this user's system. */
export function homeDirectory(): string {
  return process.env.SOMA_HOME || join(homedir(), ".soma");
}

/** What the kernel gave an app that it runs; taken out of the environment so that no child inherits it. */
export function appCredentials(): Credentials | undefined {
  const text = process.env.SOMA_CREDS;
  if (text === undefined) return undefined;
  delete process.env.SOMA_CREDS;
  const { url, name, jwt, seed } = JSON.parse(text) as { url: string; name: string; jwt: string; seed: string };
  return { url, name, jwt, seed };
}

/**
 * `context` names $SOMA_HOME/contexts/<context>.json {url, creds}: a remote system and a creds file for it.
 * Without it, NATS_URL with SOMA_CREDS_FILE, or else the system on this machine.
 */
export function credentials(context = process.env.SOMA_CONTEXT): Credentials {
  if (context !== undefined && context !== "") return fromContext(context);
  const { NATS_URL: url, SOMA_CREDS_FILE: file } = process.env;
  if (url && file) return { url, ...creds(file, `no credential file ${file}: set SOMA_CREDS_FILE`) };
  const home = homeDirectory();
  const system = read(join(home, "run", "system.json"), 'no system runs here: start one with "soma start"');
  const missing = `no credential in ${home}: start the system once with "soma start"`;
  return { url: (JSON.parse(system) as { url: string }).url, ...creds(join(home, "person.creds"), missing) };
}

function fromContext(context: string): Credentials {
  const path = context.includes("/") ? context : join(homeDirectory(), "contexts", `${context}.json`);
  const missing = `no context "${context}": write {"url", "creds"} to ${path}`;
  const { url, creds: file } = contextFile(read(path, missing), path);
  return { url, ...creds(file, `no credential file ${file}`) };
}

function contextFile(text: string, path: string): { url: string; creds: string } {
  try {
    const { url, creds } = JSON.parse(text) as { url?: unknown; creds?: unknown };
    if (typeof url === "string" && typeof creds === "string") return { url, creds };
  } catch (cause) {
    throw new SomaError("EINVAL", `${path} is not JSON: write {"url", "creds"} to it`, { cause });
  }
  throw new SomaError("EINVAL", `${path} must hold {"url", "creds"}, both texts`);
}

/** Who a standard NATS creds file makes us. */
function creds(path: string, missing: string): Omit<Credentials, "url"> {
  return identity(read(path, missing), path);
}

/** EINVAL when the text, which `from` names, is none. */
export function identity(text: string, from: string): Omit<Credentials, "url"> {
  try {
    const { name, jwt, key } = parseCreds(text);
    return { name, jwt, seed: key.seed };
  } catch (cause) {
    throw new SomaError("EINVAL", `${from} is no NATS creds file: make one with "soma app grant"`, { cause });
  }
}

function read(path: string, missing: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new SomaError("ENOENT", missing, { cause });
  }
}
