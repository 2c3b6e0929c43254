// Owns what the kernel leaves in $SOMA_HOME for people's programs: where the system is, and the person's credential.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PERSON } from "./abi/names.ts";
import { personPermissions } from "./abi/rights.ts";
import { formatCreds, parseCreds } from "./ipc/jwt.ts";
import { createKey, type KeyPair } from "./ipc/nkey.ts";
import type { Authority } from "./keys/authority.ts";
import { readText, replaceText } from "./launcher/file.ts";
import type { Home } from "./launcher/home.ts";
import { ROOT } from "./launcher/node.ts";
import { rules } from "./registry.ts";

const systemFile = (home: Home) => join(home.run, "system.json");

/** Of this Soma. */
export function version(): string {
  return (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;
}

/** Says where the system is. `pid`: the launcher's, whose end is the system's. */
export function writeSystemFile(home: Home, system: { url: string; pid: number; version: string }): void {
  replaceText(systemFile(home), `${JSON.stringify(system)}\n`);
}

export function removeSystemFile(home: Home): void {
  rmSync(systemFile(home), { force: true });
}

/**
 * Writes the person's credential, mode 0600, and gives its public key. The key stays the same for as long as the file
 * is there, so that who is connected stays so; its rights are those of this version. SOMA_CREDS_FILE says where, if not
 * in the home directory: a container for a shell sees that file and no other.
 */
export function writePersonFile(home: Home, authority: Authority): string {
  const path = process.env.SOMA_CREDS_FILE || join(home.root, "person.creds");
  const key = keptKey(path) ?? createKey("user");
  const permissions = rules(personPermissions(PERSON));
  const jwt = authority.mintActor({ name: PERSON, publicKey: key.publicKey, permissions });
  replaceText(path, formatCreds({ name: PERSON, jwt, key }));
  return key.publicKey;
}

function keptKey(path: string): KeyPair | undefined {
  const text = readText(path);
  return text === undefined ? undefined : parseCreds(text).key;
}
