// Owns what a kernel's tenure does: looks at the lease in the bucket `system` and writes it, tells a holder that somebody stands by.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Actor, createActor } from "xstate";
import { isSomaError, SomaError } from "./abi/errors.ts";
import { subjects } from "./abi/subjects.ts";
import type { NatsBus } from "./ipc/bus.ts";
import type { Log } from "./ipc/log.ts";
import { Kv } from "./ipc/store.ts";
import { readText, replaceText } from "./launcher/file.ts";
import type { Home } from "./launcher/home.ts";
import { TENURE, type TenureEvent, tenureMachine } from "./tenure.ts";

const KEY = "lease";
/** ms for one look or write: less than TENURE.doubt, so that one that hangs is no reason to lose it. */
const PATIENCE = 1_000;

interface Lease {
  /** The home of the kernel's launcher: it is locked, so a holder with our home is a dead kernel of our own launcher. */
  holder: string;
  /** For people. */
  hostname: string;
}

export interface TenureOptions {
  bus: NatsBus;
  log: Log;
  home: Pick<Home, "root">;
  /** Another kernel took over: the process must end at once. */
  lost: () => void;
}

export class Tenure {
  readonly #actor: Actor<typeof tenureMachine>;
  readonly #won: Promise<void>;
  readonly #holder: string;
  #kv: Kv<Lease> | undefined;
  #busy = false;
  #resigned = false;
  /** When a stand-by last said that it is there. */
  #relievedAt = Number.NEGATIVE_INFINITY;
  #ticking: NodeJS.Timeout | undefined;

  constructor(private readonly options: TenureOptions) {
    this.#holder = holderOf(options.home);
    let won: () => void = () => {};
    this.#won = new Promise((resolve) => (won = resolve));
    this.#actor = createActor(
      tenureMachine.provide({
        actions: {
          look: () => void this.#look(),
          write: (_, revision) => void this.#write(revision),
          won: () => won(),
          lost: () => {
            clearInterval(this.#ticking);
            options.lost();
          },
        },
      }),
      { id: "tenure", input: { at: performance.now() } },
    );
  }

  /** Whether we are the kernel for certain: what we write outside of the broker, where no key of ours is void, asks this. */
  get held(): boolean {
    const { value, context } = this.#actor.getSnapshot();
    return (
      !this.#resigned &&
      typeof value === "object" &&
      "holding" in value &&
      performance.now() - context.since < TENURE.doubt
    );
  }

  /** Whether another kernel would take over if we ended. */
  get relieved(): boolean {
    return performance.now() - this.#relievedAt < TENURE.take;
  }

  /** Stands by until the lease is ours, then keeps it. `waiting` is called if another one has it. */
  async win(waiting: () => void): Promise<void> {
    const { bus } = this.options;
    this.#kv = await Kv.open<Lease>(bus, "system");
    bus.subscribe(subjects.event("kernel", "standby"), ({ data }) => {
      if (Buffer.from(data).toString() !== this.#holder) this.#relievedAt = performance.now();
    });
    this.#actor.start();
    const tick = () => this.#actor.send({ type: "TICK", at: performance.now() });
    tick();
    this.#ticking = setInterval(tick, TENURE.renew);
    let won = false;
    const first = this.#won.then(() => (won = true));
    await Promise.race([first, sleep(2 * TENURE.renew)]);
    if (won) return;
    const say = () => {
      if (bus.connected) bus.publish(subjects.event("kernel", "standby"), Buffer.from(this.#holder));
    };
    const saying = setInterval(say, TENURE.renew);
    say();
    waiting();
    await this.#won;
    clearInterval(saying);
  }

  /** Gives the lease back, so that nobody waits until it is old. */
  async resign(): Promise<void> {
    this.#resigned = true;
    clearInterval(this.#ticking);
    await within(this.#kv!.del(KEY)).catch((error) =>
      this.options.log.warn({ err: error }, "the lease was not given back"),
    );
  }

  async #look(): Promise<void> {
    await this.#alone(async () => {
      const entry = await within(this.#kv!.get(KEY));
      const ours = entry?.value.holder === this.#holder;
      return { type: "SEEN", revision: entry?.revision ?? 0, ours, at: performance.now() };
    });
  }

  async #write(known: number): Promise<void> {
    await this.#alone(async () => {
      const at = performance.now();
      const lease = { holder: this.#holder, hostname: hostname() };
      return { type: "WRITTEN", revision: await within(this.#kv!.put(KEY, lease, known)), at };
    });
  }

  /** One at a time, so that no write overtakes another; the machine hears of it when the next one may begin. */
  async #alone(work: () => Promise<TenureEvent>): Promise<void> {
    if (this.#busy || this.#resigned) return;
    this.#busy = true;
    const event = await work().catch((error): TenureEvent => {
      const at = performance.now();
      if (isSomaError(error, "EAGAIN")) return { type: "REFUSED", at };
      if (isSomaError(error, "EIO")) return { type: "FAILED", at };
      throw error;
    });
    this.#busy = false;
    this.#actor.send(event);
  }
}

/** A name for this home, which no other has. */
function holderOf({ root }: Pick<Home, "root">): string {
  const path = join(root, "id");
  const kept = readText(path)?.trim();
  if (kept) return kept;
  const made = randomBytes(8).toString("hex");
  replaceText(path, `${made}\n`);
  return made;
}

function within<T>(work: Promise<T>): Promise<T> {
  // Whether it failed later is of no interest.
  work.catch(() => {});
  const late = sleep(PATIENCE, undefined, { ref: false }).then(() => {
    throw new SomaError("EIO", `the store did not answer within ${PATIENCE} ms`);
  });
  return Promise.race([work, late]);
}
