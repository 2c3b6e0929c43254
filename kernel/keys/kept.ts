// Owns the seeds below $SOMA_HOME/keys.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createKey, type KeyKind, type KeyPair, keyFromSeed } from "../ipc/nkey.ts";
import { readText, replaceText } from "../launcher/file.ts";

/** The key kept under `name`, made and written at first use. Throws when the file holds a key of another kind. */
export function keptKey(directory: string, name: string, kind: KeyKind): KeyPair {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${name}.seed`);
  const seed = readText(path);
  if (seed === undefined) {
    const key = createKey(kind);
    replaceText(path, `${key.seed}\n`);
    return key;
  }
  const key = keyFromSeed(seed);
  if (key.kind !== kind) throw new Error(`${path} holds the key of an ${key.kind}, not of an ${kind}`);
  return key;
}
