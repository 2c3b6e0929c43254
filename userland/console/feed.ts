// Owns what pages watch: one reader for all pages on the same thing, which reads only while a page watches, and no page that holds it up.
import { isSomaError } from "../../kernel/abi/errors.ts";

/** Says that a thing could not be read just now, or its new value. */
export type Frame = { value: unknown } | { problem: { code: string; message: string } };

export interface Topic {
  /** ms from the end of a reading to the next. */
  every: number;
  read: (signal: AbortSignal) => Promise<unknown>;
}

/** What a page is told when nothing has changed for so long, ms; it finds connections that are dead. */
const QUIET = 15_000;

export class Feed {
  private readonly pages = new Set<(text: string) => void>();
  private abort: AbortController | undefined;
  private last: string | undefined;

  constructor(private readonly topic: Topic) {}

  get watched(): number {
    return this.pages.size;
  }

  /**
   * Server-sent events from now on. A page gets the newest frame when it has taken the one before: those between are never
   * queued. Ends with `signal`.
   */
  watch(signal: AbortSignal): ReadableStream<Uint8Array> {
    let newest: string | undefined = this.last;
    let wake: () => void = () => {};
    const told = (text: string) => {
      newest = text;
      wake();
    };
    const leave = () => {
      this.leave(told);
      wake();
    };
    const encoder = new TextEncoder();
    return new ReadableStream<Uint8Array>(
      {
        start: () => {
          signal.addEventListener("abort", leave, { once: true });
          this.join(told);
          if (signal.aborted) leave();
        },
        pull: async (controller) => {
          if (newest === undefined && !signal.aborted) {
            await new Promise<void>((resolve) => {
              const quiet = setTimeout(resolve, QUIET);
              wake = () => {
                clearTimeout(quiet);
                resolve();
              };
            });
          }
          if (signal.aborted) return controller.close();
          const text = newest === undefined ? ":\n\n" : `data: ${newest}\n\n`;
          newest = undefined;
          controller.enqueue(encoder.encode(text));
        },
        cancel: leave,
      },
      { highWaterMark: 0 },
    );
  }

  private join(page: (text: string) => void): void {
    this.pages.add(page);
    if (this.abort !== undefined) return;
    this.abort = new AbortController();
    void this.run(this.abort.signal);
  }

  private leave(page: (text: string) => void): void {
    this.pages.delete(page);
    if (this.pages.size > 0) return;
    this.abort?.abort();
    this.abort = undefined;
    // The next page shall not begin with what is old.
    this.last = undefined;
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const text = JSON.stringify(await this.frame(signal));
      if (signal.aborted) return;
      if (text !== this.last) for (const page of this.pages) page(text);
      this.last = text;
      await new Promise((resolve) => setTimeout(resolve, this.topic.every));
    }
  }

  private async frame(signal: AbortSignal): Promise<Frame> {
    try {
      return { value: await this.topic.read(signal) };
    } catch (error) {
      if (!isSomaError(error)) throw error;
      return { problem: { code: error.code, message: error.message } };
    }
  }
}

/** Feeds by what they read, one for each address that somebody watches. */
export class Feeds {
  private readonly feeds = new Map<string, Feed>();

  constructor(private readonly topicOf: (name: string, query: Readonly<Record<string, string>>) => Topic) {}

  /** EINVAL or ENOENT when there is no such topic. */
  watch(name: string, query: Readonly<Record<string, string>>, signal: AbortSignal): ReadableStream<Uint8Array> {
    const key = JSON.stringify([name, ...Object.entries(query).sort()]);
    for (const [other, { watched }] of this.feeds) if (watched === 0) this.feeds.delete(other);
    let feed = this.feeds.get(key);
    if (feed === undefined) this.feeds.set(key, (feed = new Feed(this.topicOf(name, query))));
    return feed.watch(signal);
  }

  /** Pages that watch something. */
  get watched(): number {
    return [...this.feeds.values()].reduce((sum, { watched }) => sum + watched, 0);
  }
}
