// Owns a bucket in memory for tests of auth: what is stored outlives whoever used it, and it can break at any write.
import { decode, encode } from "../../../kernel/abi/codec.ts";
import type { Bucket } from "../../../kernel/ipc/store.ts";

/** Thrown by the write at which the process "dies": neither it nor a later one happens. */
export class Crash extends Error {}

export class Disk {
  readonly stored = new Map<string, Uint8Array>();
  private revision = 0;
  /** Writes that still succeed. */
  left = Number.POSITIVE_INFINITY;
  /** Called with `<bucket>/<key>` when a value is written and nobody knows yet: what it throws is the writer's answer. */
  onPut: (key: string) => void = () => {};

  /** A bucket of its own under `name`. */
  bucket<T>(name: string): Bucket<T> {
    const full = (key: string) => `${name}/${key}`;
    return {
      get: async (key) => {
        const bytes = this.stored.get(full(key));
        return bytes && { key, value: decode(bytes) as T, revision: 1 };
      },
      put: async (key, value) => {
        this.write();
        this.stored.set(full(key), encode(value));
        this.onPut(full(key));
        return ++this.revision;
      },
      del: async (key) => {
        this.write();
        this.stored.delete(full(key));
      },
      entries: async (filter = ">") => {
        const prefix = full(filter.replace(/[*>]$/, ""));
        return [...this.stored]
          .filter(([key]) => key.startsWith(prefix))
          .map(([key, bytes]) => ({ key: key.slice(name.length + 1), value: decode(bytes) as T, revision: 1 }));
      },
    };
  }

  private write(): void {
    if (this.left <= 0) throw new Crash("the process died at this write");
    this.left -= 1;
  }
}
