// Owns where the system is and as whom to reach it: a named context, or the one on this machine.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import { parseCreds } from "../../kernel/ipc/identity.ts";

export interface Credentials {
  url: string;
  name: string;
  jwt: string;
  seed: Uint8Array;
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
  return { url, name, jwt, seed: new TextEncoder().encode(seed) };
}

/**
 * `context` names $SOMA_HOME/contexts/<context>.json {url, creds}: a remote system and a creds file for it.
 * Without it, NATS_URL with SOMA_CREDS_FILE, or else the system on this machine.
 */
export function credentials(context = process.env.SOMA_CONTEXT): Credentials {
  if (context !== undefined && context !== "") return fromContext(context);
  const { NATS_URL: url, SOMA_CREDS_FILE: file } = process.env;
  if (url && file) return { url, ...parseCreds(read(file, `no credential file ${file}: set SOMA_CREDS_FILE`)) };
  const home = homeDirectory();
  const system = read(join(home, "run", "system.json"), 'no system runs here: start one with "soma start"');
  const creds = read(join(home, "person.creds"), `no credential in ${home}: start the system once with "soma start"`);
  return { url: (JSON.parse(system) as { url: string }).url, ...parseCreds(creds) };
}

function fromContext(context: string): Credentials {
  const path = context.includes("/") ? context : join(homeDirectory(), "contexts", `${context}.json`);
  const { url, creds } = JSON.parse(read(path, `no context "${context}": write {"url", "creds"} to ${path}`)) as {
    url: string;
    creds: string;
  };
  return { url, ...parseCreds(read(creds, `no credential file ${creds}`)) };
}

function read(path: string, missing: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new SomaError("ENOENT", missing, { cause });
  }
}
