// Owns the load of a chaos run: sixteen apps that stream without end, and two hundred calls a second between them.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import type { CallOptions } from "../../kernel/ipc/client.ts";
import { ResumableStream } from "../../userland/sdk/resume.ts";
import { History } from "./history.ts";
import type { App, Rig } from "./rig.ts";

export const CALLS_PER_S = 200;
const TOKENS = 48;
/** How long a call of the load may take, and how long one that repeats by itself may. */
const TTL = 5_000;

/** What an app remembers: a number that only grows, by one for each write. */
interface Counter {
  key: string;
  /** The last value that was acknowledged, and the last that was sent. */
  acked: number;
  sent: number;
  busy: boolean;
}

type Call = (app: App, number: number) => Promise<unknown>;

export class Load {
  readonly history = new History();
  /** When tokens came, for whom. */
  readonly tokens: { app: string; at: number }[] = [];
  /** Streams that ended with other tokens than undisturbed, and why. */
  readonly wrong: string[] = [];
  streams = 0;
  private readonly expected = new Map<string, string>();
  private readonly counters = new Map<string, Counter>();
  private readonly lag = monitorEventLoopDelay({ resolution: 10 });
  private going = false;
  private work: Promise<unknown>[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly rig: Rig) {}

  private readonly options: CallOptions = { ttl: TTL, retry: false };
  /** In turn. Each goes to another service. */
  private readonly calls: [string, Call][] = [
    ["memory.put", (app) => this.count(app)],
    ["auth.whoami", (app) => app.client.call("auth.whoami", {}, this.options)],
    ["memory.get", (app) => app.client.call("memory.get", { key: this.counters.get(app.name)!.key }, this.options)],
    ["model.tokenize", (app) => app.client.call("model.tokenize", { model: "fox", text: "the quick" }, this.options)],
    ["device.list", (app) => app.client.call("device.list", {}, this.options)],
    ["scheduler.queue", () => this.rig.person.call("scheduler.queue", {}, this.options)],
  ];

  /** Learns what each app's stream says undisturbed, then starts. */
  async start(): Promise<void> {
    for (const app of this.rig.apps) {
      this.counters.set(app.name, { key: "counter", acked: 0, sent: 0, busy: false });
      await app.client.call("memory.put", { key: "counter", value: 0 });
    }
    await Promise.all(this.rig.apps.map(async (app) => this.expected.set(app.name, (await this.read(app)).join(" "))));
    this.tokens.length = 0;
    this.going = true;
    this.lag.enable();
    this.work = this.rig.apps.map((app) => this.streaming(app));
    const began = performance.now();
    let sent = 0;
    this.timer = setInterval(() => {
      // By the clock, so that a late timer does not make the load lighter.
      for (const due = ((performance.now() - began) / 1_000) * CALLS_PER_S; sent < due; sent++) this.call(sent);
    }, 5);
  }

  /** Ends the load and waits for what runs. */
  async stop(): Promise<void> {
    this.going = false;
    clearInterval(this.timer);
    await Promise.all(this.work);
  }

  /** ms that our own event loop was late at worst: callers cannot be told sooner than they listen. */
  get lagMs(): number {
    return this.lag.max / 1e6;
  }

  /** When the next token came to each app after `at`; apps without one are left out. */
  resumed(at: number): number[] {
    const first = new Map<string, number>();
    // From the end: this is asked all the time, and a long run has millions of them.
    for (let n = this.tokens.length - 1; n >= 0 && this.tokens[n]!.at >= at; n--)
      first.set(this.tokens[n]!.app, this.tokens[n]!.at);
    return [...first.values()];
  }

  /** Acknowledged writes that are gone, and writes that were done twice: both must be none. */
  async counted(): Promise<{ lost: number; doubled: number; acked: number }> {
    let [lost, doubled, acked] = [0, 0, 0];
    for (const app of this.rig.apps) {
      const { key, acked: last, sent } = this.counters.get(app.name)!;
      const value = Number((await app.client.call("memory.get", { key })).value);
      acked += last;
      if (value < last) lost += last - value;
      if (value > sent) doubled += value - sent;
    }
    return { lost, doubled, acked };
  }

  private call(number: number): void {
    const app = this.rig.apps[Math.floor(number / this.calls.length) % this.rig.apps.length]!;
    const [name, call] = this.calls[number % this.calls.length]!;
    const work = this.history.run(name, app.name, TTL, () => call(app, number));
    this.work.push(work);
    loud(work);
  }

  /** Adds one to the app's number: reads, then writes only if nothing has changed, so that a write done twice shows. */
  private async count(app: App): Promise<void> {
    const counter = this.counters.get(app.name)!;
    if (counter.busy) return;
    counter.busy = true;
    try {
      const { value, revision } = await app.client.call("memory.get", { key: counter.key }, this.options);
      const next = Number(value) + 1;
      counter.sent = Math.max(counter.sent, next);
      await app.client.call("memory.put", { key: counter.key, value: next, revision }, this.options);
      counter.acked = next;
    } finally {
      counter.busy = false;
    }
  }

  private async streaming(app: App): Promise<void> {
    while (this.going) {
      try {
        const ids = await this.read(app);
        this.streams += 1;
        if (ids.join(" ") !== this.expected.get(app.name)) this.wrong.push(`${app.name}: other tokens`);
      } catch (error) {
        if (!(error instanceof SomaError)) throw error;
        // Refused before it began, while its model is away: nothing was accepted, and the app is told to come again.
        if (["EAGAIN", "EBUSY"].includes(error.code) && error.executed === "no") {
          await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? 50));
          continue;
        }
        this.wrong.push(`${app.name}: ${error.code} ${error.message}`);
        // It may fail at once, for ever: others must have their turn.
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  private async read(app: App): Promise<number[]> {
    const seed = Number(app.name.split("-")[1]);
    const input: Input<"model.generate"> = {
      model: "fox",
      prompt: "the quick",
      maxTokens: TOKENS,
      sample: { temperature: 1, seed },
    };
    const ids: number[] = [];
    for await (const chunk of new ResumableStream(app.client, "model.generate", input)) {
      if (chunk.pos !== ids.length && chunk.ids.length > 0)
        this.wrong.push(`${app.name}: position ${chunk.pos} after ${ids.length}`);
      ids.push(...chunk.ids);
      if (chunk.ids.length > 0) this.tokens.push({ app: app.name, at: performance.now() });
    }
    return ids;
  }
}

/** A bug of the load itself must not go unheard until the end. */
export function loud(work: Promise<unknown>): void {
  work.catch((error) =>
    setImmediate(() => {
      throw error;
    }),
  );
}
