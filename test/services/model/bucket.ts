// Owns a stand-in for a KV bucket: revisions, compare-and-set and watches as the real one has them.
import { SomaError } from "../../../kernel/abi/errors.ts";

export class MapBucket<T = unknown> {
  readonly entriesOf = new Map<string, { value: T; revision: number }>();
  private readonly watchers = new Set<(key: string, value: T | undefined, revision: number) => void>();
  private revision = 0;
  /** Thrown by the next put. */
  failure: Error | undefined;

  async get(key: string) {
    const found = this.entriesOf.get(key);
    return found && { key, ...structuredClone(found) };
  }

  async put(key: string, value: T, revision?: number): Promise<number> {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
    if (revision !== undefined && (this.entriesOf.get(key)?.revision ?? 0) !== revision)
      throw new SomaError("EAGAIN", `${key} changed meanwhile: read it again`);
    this.revision += 1;
    this.entriesOf.set(key, { value: structuredClone(value), revision: this.revision });
    for (const tell of this.watchers) tell(key, structuredClone(value), this.revision);
    return this.revision;
  }

  async del(key: string): Promise<void> {
    this.entriesOf.delete(key);
    for (const tell of this.watchers) tell(key, undefined, ++this.revision);
  }

  async entries() {
    return [...this.entriesOf].map(([key, entry]) => ({ key, ...structuredClone(entry) }));
  }

  async watch(tell: (key: string, value: T | undefined, revision: number) => void): Promise<() => void> {
    for (const [key, { value, revision }] of this.entriesOf) tell(key, structuredClone(value), revision);
    this.watchers.add(tell);
    return () => this.watchers.delete(tell);
  }
}
