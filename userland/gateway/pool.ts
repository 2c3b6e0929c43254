// Owns one connection per API key, under the key's own identity: opened at its first request, closed when idle or revoked.
import { isSomaError } from "../../kernel/abi/errors.ts";
import { connectKey, readKey } from "../sdk/keys.ts";
import type { Soma } from "../sdk/soma.ts";
import { badKey } from "./errors.ts";

interface Entry {
  soma: Promise<Soma>;
  /** Of each request under way. */
  running: Set<AbortController>;
  idle: NodeJS.Timeout | undefined;
}

/** A connection lent to one request. */
export interface Lent {
  soma: Soma;
  /** Gives it back; once. */
  done(): void;
}

export class Pool {
  /** By public key: secrets are no names. */
  private readonly entries = new Map<string, Entry>();

  constructor(
    /** Holds auth.credential and nothing else. */
    private readonly own: Soma,
    private readonly idleMs = 60_000,
  ) {}

  /** `abort` ends the request when the key is revoked. 401 for a key that is none, or none any more. */
  async lend(text: string, abort: AbortController): Promise<Lent> {
    const key = keyOf(text);
    let entry = this.entries.get(key.publicKey);
    // A connection that is cut off may be so because its key was revoked: asked anew, auth knows.
    if (entry !== undefined && !(await entry.soma).bus.connected) {
      this.drop(key.publicKey, entry);
      entry = this.entries.get(key.publicKey);
    }
    entry ??= this.open(key);
    entry.running.add(abort);
    clearTimeout(entry.idle);
    const done = () => {
      entry.running.delete(abort);
      clearTimeout(entry.idle);
      if (entry.running.size === 0) entry.idle = setTimeout(() => this.drop(key.publicKey, entry), this.idleMs).unref();
    };
    try {
      return { soma: await entry.soma, done };
    } catch (error) {
      this.drop(key.publicKey, entry);
      if (isSomaError(error, "ENOENT") || isSomaError(error, "EPERM")) throw revoked();
      throw error;
    }
  }

  /** The error that a client shall see: who lost its key while it ran, or just before, learns that. */
  async judge(text: string, error: unknown): Promise<unknown> {
    if (!isSomaError(error) || !["EPERM", "EIO", "ECANCELED"].includes(error.code)) return error;
    try {
      await this.own.auth.credential({ publicKey: keyOf(text).publicKey });
      return error;
    } catch (lost) {
      return isSomaError(lost, "ENOENT") ? revoked() : error;
    }
  }

  get size(): number {
    return this.entries.size;
  }

  close(): void {
    for (const [publicKey, entry] of this.entries) this.drop(publicKey, entry);
  }

  private open(key: ReturnType<typeof readKey>): Entry {
    const entry: Entry = { soma: connectKey(this.own, key), running: new Set(), idle: undefined };
    this.entries.set(key.publicKey, entry);
    entry.soma.then(
      ({ bus }) => bus.on(({ type }) => type === "closed" && this.drop(key.publicKey, entry)),
      () => this.drop(key.publicKey, entry),
    );
    return entry;
  }

  /** Ends what still runs on it. */
  private drop(publicKey: string, entry: Entry): void {
    if (this.entries.get(publicKey) !== entry) return;
    this.entries.delete(publicKey);
    clearTimeout(entry.idle);
    for (const abort of entry.running) abort.abort();
    entry.soma.then(
      (soma) => soma.close(),
      () => {}, // It never was.
    );
  }
}

function keyOf(text: string): ReturnType<typeof readKey> {
  try {
    return readKey(text);
  } catch (error) {
    if (isSomaError(error, "EINVAL")) throw badKey(error.message);
    throw error;
  }
}

const revoked = () =>
  badKey('this API key was revoked, has expired or never was: make one with "soma key create NAME"');
