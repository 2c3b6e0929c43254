// Owns object buckets: large values in JetStream, in chunks, by the names of the table in abi.
import type { JetStreamManager } from "nats";
import { SomaError } from "../abi/errors.ts";
import { type StoreName, streamName } from "../abi/storage.ts";
import type { NatsBus } from "./bus.ts";
import { jetstream, storeError } from "./store.ts";

/** Bytes of one stored chunk of an object, and how many are on their way to the broker at a time. */
const OBJECT_CHUNK = 128 * 1024;
const OBJECT_FLIGHT = 8;

/**
 * An object bucket: large values in chunks, under an id that the writer chooses and uses once. What is there is for the
 * writer to record elsewhere, afterwards: an id without a record was never finished. (The library's object store takes
 * no backpressure, in neither direction, and cannot find what a crash left half-written.)
 */
export class Objects {
  private constructor(
    private readonly bus: NatsBus,
    private readonly jsm: JetStreamManager,
    private readonly name: StoreName,
  ) {}

  static async open(bus: NatsBus, name: StoreName): Promise<Objects> {
    return new Objects(bus, await jetstream(bus).jetstreamManager(false), name);
  }

  /** Stores the pieces as they come; resolves with the size once all are stored. What a failure left is removed. */
  async put(id: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
    const js = jetstream(this.bus);
    const flight: Promise<unknown>[] = [];
    let size = 0;
    let held: Uint8Array[] = [];
    let heldBytes = 0;
    const send = async () => {
      if (flight.length >= OBJECT_FLIGHT) await flight.shift();
      const chunk = js.publish(this.subject(id), Buffer.concat(held, heldBytes));
      // Its failure is thrown where it is awaited, perhaps after another's.
      chunk.catch(() => {});
      flight.push(chunk);
      held = [];
      heldBytes = 0;
    };
    try {
      for await (const piece of pieces) {
        held.push(piece);
        heldBytes += piece.length;
        size += piece.length;
        if (heldBytes >= OBJECT_CHUNK) await send();
      }
      if (heldBytes > 0) await send();
      await Promise.all(flight);
      return size;
    } catch (cause) {
      await Promise.allSettled(flight);
      // Away, too, when the broker is: then it is found by `ids` later.
      await this.del(id).catch(() => {});
      throw storeError(this.name, cause);
    }
  }

  /** The chunks of an object of `size` bytes, fetched one by one as they are asked for; ENOENT when they are not all there. */
  async *read(id: string, size: number): AsyncGenerator<Uint8Array> {
    let seq = 1;
    for (let read = 0; read < size; ) {
      const wanted = Buffer.from(JSON.stringify({ seq, next_by_subj: this.subject(id) }));
      const subject = `$JS.API.DIRECT.GET.${streamName(this.name)}`;
      const chunk = await this.guard(this.bus.nc.request(subject, wanted, { timeout: 5_000 }));
      if (chunk.headers?.code === 404) throw new SomaError("ENOENT", `the value is gone: it was dropped meanwhile`);
      yield chunk.data;
      read += chunk.data.length;
      seq = Number(chunk.headers?.get("Nats-Sequence")) + 1;
    }
  }

  async del(id: string): Promise<void> {
    await this.guard(this.jsm.streams.purge(streamName(this.name), { filter: this.subject(id) }));
  }

  /** Every id of which there is a chunk. */
  async ids(): Promise<string[]> {
    const filter = this.subject("*");
    const info = await this.guard(this.jsm.streams.info(streamName(this.name), { subjects_filter: filter }));
    return Object.keys(info.state.subjects ?? {}).map((subject) => subject.slice(filter.length - 1));
  }

  private subject(id: string): string {
    return `$O.${this.name}.C.${id}`;
  }

  private async guard<R>(promise: Promise<R>): Promise<R> {
    try {
      return await promise;
    } catch (cause) {
      throw storeError(this.name, cause);
    }
  }
}
