// Owns the layout of $SOMA_HOME: what lies where, for this user only, and the version of that layout.
import { chmodSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { readText, replaceText } from "./file.ts";

/** Raised when an older Soma could not read the directory any more. */
const FORMAT = 1;

export interface Home {
  root: string;
  /** Seeds and the account: secret. SOMA_KEYS puts them elsewhere, for kernels that share them. */
  keys: string;
  /** The broker's store: JetStream and account JWTs. */
  js: string;
  log: string;
  /** What can be fetched again. */
  cache: string;
  /** Of the running system: pid, url, lock, configuration. */
  run: string;
}

/** Names the parts; touches nothing. */
export function homeAt(root = process.env.SOMA_HOME || join(homedir(), ".soma")): Home {
  const at = (part: string) => join(resolve(root), part);
  const keys = process.env.SOMA_KEYS || at("keys");
  return { root: resolve(root), keys, js: at("js"), log: at("log"), cache: at("cache"), run: at("run") };
}

/** Makes what is missing, mode 0700. Throws when a newer Soma wrote it. */
export function openHome(root?: string): Home {
  const home = homeAt(root);
  for (const directory of Object.values(home)) mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(home.root, 0o700);
  const path = join(home.root, "format");
  const found = readText(path);
  if (found === undefined) replaceText(path, `${FORMAT}\n`);
  else if (Number(found) !== FORMAT) {
    throw new Error(
      `${home.root} has format ${found.trim()}, this Soma reads ${FORMAT}: update Soma or set SOMA_HOME elsewhere`,
    );
  }
  return home;
}

/** Where a broker's program may lie, first choice first: shared by all homes of this user, then this home's own. */
export function cachesOf(home: Home): string[] {
  return [join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "soma"), home.cache];
}
