// Owns the simulated JetStream: buckets that outlive every process and the broker, refused to void keys, and who wrote in which epoch.
import { decode, encode } from "../../kernel/abi/codec.ts";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Entry } from "../../kernel/ipc/store.ts";
import type { Broker, SimBus } from "./broker.ts";

type Stored = { bytes: Uint8Array; revision: number };
type Watcher = { bus: SimBus; onChange: (key: string, value: unknown) => void };

export class Store {
  private readonly buckets = new Map<string, Map<string, Stored>>();
  private readonly watchers = new Map<string, Watcher[]>();
  private revision = 0;

  constructor(
    private readonly broker: Broker,
    private readonly struck: (kind: string) => void,
    /** Told of each write that is carried out. */
    private readonly written: (bus: SimBus, bucket: string, key: string) => void,
    /** Told of each write that is refused, for its key is void. */
    private readonly refused: (bus: SimBus) => void,
    /** Probability that a write is carried out and its acknowledgement lost with the connection, or neither. */
    private readonly flaky: () => number,
  ) {}

  /** What a process sees of a bucket: the shape of kernel/ipc/store.ts. */
  bucket<T>(bus: SimBus, name: string) {
    const ask = <R>(work: () => R, write?: string) => this.ask(bus, name, work, write);
    const { broker } = this;
    return {
      get: (key: string): Promise<Entry<T> | undefined> => ask(() => this.read<T>(name, key)),
      put: (key: string, value: T, revision?: number): Promise<number> => {
        const bytes = encode(value);
        return ask(() => this.write(name, key, bytes, revision), key);
      },
      del: (key: string): Promise<void> =>
        ask(() => {
          this.table(name).delete(key);
          this.changed(name, key, undefined);
        }, key),
      keys: (): Promise<string[]> => ask(() => [...this.table(name).keys()]),
      sizes: (): Promise<Map<string, number>> =>
        ask(() => new Map([...this.table(name)].map(([key, { bytes }]) => [key, bytes.length]))),
      entries: (filter = ">"): Promise<Entry<T>[]> =>
        ask(() =>
          [...this.table(name).keys()]
            .filter((key) => key.startsWith(filter.replace(/[*>]$/, "")))
            .map((key) => this.read<T>(name, key)!),
        ),
      watch: async (onChange: (key: string, value: T | undefined) => void): Promise<void> => {
        const tellAll = () => {
          for (const [key, { bytes }] of this.table(name)) onChange(key, decode(bytes) as T);
        };
        await ask(tellAll);
        this.watchers.set(name, [
          ...(this.watchers.get(name) ?? []),
          { bus, onChange: onChange as Watcher["onChange"] },
        ]);
        bus.on(({ type }) => type === "back" && broker.clock.after(1, "watch", tellAll));
      },
    };
  }

  /** For the checks at the end. */
  values<T>(name: string): [string, T][] {
    return [...this.table(name)].map(([key, { bytes }]) => [key, decode(bytes) as T]);
  }

  private read<T>(name: string, key: string): Entry<T> | undefined {
    const stored = this.table(name).get(key);
    return stored && { key, value: decode(stored.bytes) as T, revision: stored.revision };
  }

  private write(name: string, key: string, bytes: Uint8Array, expected: number | undefined): number {
    const table = this.table(name);
    if (expected !== undefined && (table.get(key)?.revision ?? 0) !== expected)
      throw new SomaError("EAGAIN", `${key} has changed: read it again`);
    table.set(key, { bytes, revision: ++this.revision });
    this.changed(name, key, bytes);
    return this.revision;
  }

  /** Carried out at the broker after a while, answered after another. */
  private ask<R>(bus: SimBus, name: string, work: () => R, write?: string): Promise<R> {
    const { clock, random } = this.broker;
    const owner = clock.current;
    return new Promise<R>((resolve, reject) => {
      const answer = (settle: () => void) => clock.after(random.between(0.1, 1), `store ${name}`, settle, owner);
      const away = (executed: "no" | "maybe") =>
        answer(() => reject(new SomaError("EIO", "the broker is away: try again when it is back", { executed })));
      if (!bus.connected) return void away("no");
      const flaky = write !== undefined && random.chance(this.flaky());
      const carried = !flaky || random.chance(0.5);
      clock.after(
        random.between(0.1, 1),
        `at store ${name} ${write ?? ""}`,
        () => {
          // A void key is refused; its owner is told by the end of its connection.
          if (bus.closed || this.broker.revoked.has(bus.token.publicKey)) {
            if (write !== undefined) this.refused(bus);
            return void away("no");
          }
          if (!this.broker.up) return void away("maybe");
          let result: R;
          try {
            if (!carried) return;
            if (write !== undefined) this.written(bus, name, write);
            result = work();
          } catch (error) {
            return void answer(() => reject(error));
          } finally {
            if (flaky) {
              this.struck("store");
              away("maybe");
            }
          }
          if (!flaky) answer(() => resolve(result));
        },
        null,
      );
    });
  }

  private changed(name: string, key: string, bytes: Uint8Array | undefined): void {
    const { clock, random } = this.broker;
    for (const { bus, onChange } of this.watchers.get(name) ?? [])
      if (bus.connected && !bus.closed)
        clock.after(random.between(0.2, 2), `watch ${name}`, () => onChange(key, bytes && decode(bytes)), bus.owner);
  }

  private table(name: string): Map<string, Stored> {
    let table = this.buckets.get(name);
    if (table === undefined) this.buckets.set(name, (table = new Map()));
    return table;
  }
}
