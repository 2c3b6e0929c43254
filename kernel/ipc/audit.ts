// Owns what a server records: outcomes wait in a bounded queue, are chained, and go to the stream in batches behind the calls' back.
import type { Principal } from "../abi/headers.ts";
import { subjects } from "../abi/subjects.ts";
import { type Batch, genesis, type Head, type Outcome, ROWS, type Row, seal } from "./chain.ts";

/** A first outcome waits so long for others at most, in ms. */
const GATHER = 80;
/** Bytes of one batch, roughly, at most. */
const BATCH = 128 * 1024;
/** What may wait while the broker is away, in bytes: some 16,000 records without prompts. */
const QUEUE = 4 * 1024 * 1024;
/** Roughly what a record takes, besides its prompt. */
const RECORD = 256;
/** Letters of a prompt that are kept, and of other words that callers choose. */
const PROMPT = 8_192;
const WORD = 64;
/** After a failure to store, in ms. */
const AGAIN = 250;

export interface AuditOptions {
  instance: string;
  epoch: number;
  /** Stores a batch under `id`; the same id soon again stores it once. Rejects when that is not sure. */
  store: (batch: Batch, id: string) => Promise<void>;
  /** Whether the holder's grant asks to keep prompts. */
  storesPrompts?: (holder: string) => boolean;
  /** Told when records do not get stored, once until they do. */
  warn?: (error: unknown) => void;
  /** Unix ms. */
  now?: () => number;
}

/** What of a call's input is remembered until its outcome. */
export interface Noted {
  model?: string | undefined;
  prompt?: string | undefined;
}

/** Who asked: a request. */
export interface Caller {
  caller: string;
  principal: Principal;
  id: string;
  noted?: Noted | undefined;
}

const NOTHING: Noted = {};

interface Waiting {
  row: Row;
  bytes: number;
  /** Called once it is stored. */
  stored?: (() => void) | undefined;
}

/** One chain: of one instance, in one epoch. */
export class Audit {
  private readonly subject: string;
  private readonly now: () => number;
  private head: Head;
  private queue: Waiting[] = [];
  private queued = 0;
  private lost = 0;
  /** Refusals in the queue that further ones are added to. */
  private readonly refusals = new Map<string, Outcome>();
  private timer: NodeJS.Timeout | undefined;
  private sending: Promise<void> | undefined;
  private stopped = false;

  constructor(private readonly options: AuditOptions) {
    this.subject = subjects.audit(options.instance, options.epoch);
    this.head = genesis(this.subject);
    this.now = options.now ?? Date.now;
    this.add({ what: "open", at: this.now() });
  }

  /** For `stat`. */
  figures(): { auditRecords: number; auditWaiting: number } {
    return { auditRecords: this.head.seq, auditWaiting: this.queue.length };
  }

  /** What to remember of an input. No prompt, unless the caller's own grant asks for it. */
  note(caller: string, principal: Principal, input: unknown): Noted {
    const { model, name, prompt, messages } = input as { [key in "model" | "name" | "prompt" | "messages"]?: unknown };
    const said = prompt ?? messages;
    if (model === undefined && name === undefined && said === undefined) return NOTHING;
    const noted: Noted = { model: word(model ?? name) };
    if (said === undefined || principal.grant === undefined || !this.options.storesPrompts?.(caller)) return noted;
    noted.prompt = (typeof said === "string" ? said : JSON.stringify(said)).slice(0, PROMPT);
    return noted;
  }

  /** A call's end. */
  outcome(request: Caller, call: string, code: string, ms: number, output?: unknown): void {
    this.add(this.row(request, call, code, ms, output));
  }

  /** The same; resolves once it is stored, to hold back a reply until then. It finds room always: the mailbox bounds it. */
  stored(request: Caller, call: string, code: string, ms: number, output?: unknown): Promise<void> {
    return new Promise((resolve) => {
      this.push(this.row(request, call, code, ms, output), resolve);
      this.flush();
    });
  }

  /** A call that was turned away at the door. Equal ones are counted in one record, so that a flood stays small. */
  refused(caller: string, call: string, id: string, code: string): void {
    const key = `${caller} ${call} ${code}`;
    const known = this.refusals.get(key);
    if (known !== undefined) {
      known.times += 1;
      return;
    }
    const outcome: Outcome = { caller, principal: caller, call: word(call)!, id: word(id)!, code, ms: 0, times: 1 };
    const row: Row = { what: "call", at: this.now(), ...outcome };
    if (this.add(row)) this.refusals.set(key, row);
  }

  /** Ends the chain with a record that says so. Gives up on what is not stored within `ms`. */
  async close(ms: number): Promise<void> {
    this.push({ what: "close", at: this.now() });
    this.flush();
    const patience = new Promise<void>((resolve) => setTimeout(resolve, ms).unref());
    await Promise.race([this.sending, patience]);
    this.stopped = true;
  }

  private row(request: Caller, call: string, code: string, ms: number, output: unknown): Row {
    const { principal, noted } = request;
    const { model, version, usage } = (output ?? NOTHING) as { model?: unknown; version?: unknown; usage?: Usage };
    // One literal: this is the hot path of every call.
    return {
      what: "call",
      at: this.now(),
      caller: request.caller,
      principal: principal.principal,
      grant: principal.grant,
      revision: principal.revision,
      call,
      id: request.id,
      code,
      ms,
      times: 1,
      model: word(model) ?? noted?.model,
      version: typeof version === "number" ? version : undefined,
      tokens: typeof usage?.newTokens === "number" ? usage.newTokens + (usage.promptTokens ?? 0) : undefined,
      prompt: noted?.prompt,
    };
  }

  /** False when there is no room: then it is counted. */
  private add(row: Row): boolean {
    if (this.queued >= QUEUE) {
      this.lost += 1;
      return false;
    }
    this.push(row);
    return true;
  }

  private push(row: Row, stored?: () => void): void {
    const bytes = RECORD + (row.what === "call" ? (row.prompt?.length ?? 0) : 0);
    this.queue.push({ row, bytes, stored });
    this.queued += bytes;
    if (this.queue.length >= ROWS) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), GATHER);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.sending ??= this.send();
  }

  /** One batch at a time, until none waits. A batch stays the same over its attempts. */
  private async send(): Promise<void> {
    // What else this turn of the loop records goes with it.
    await Promise.resolve();
    while (this.queue.length > 0 && !this.stopped) {
      const taken = this.take();
      const { batch, head } = seal(
        this.head,
        taken.map(({ row }) => row),
      );
      await this.deliver(batch);
      this.head = head;
      for (const { bytes, stored } of taken) {
        this.queued -= bytes;
        stored?.();
      }
    }
    // In the same turn as the look at the queue: what comes after starts anew.
    this.sending = undefined;
  }

  private async deliver(batch: Batch): Promise<void> {
    for (let attempt = 0; !this.stopped; attempt++) {
      try {
        return await this.options.store(batch, `${this.subject}.${batch.first}`);
      } catch (error) {
        if (attempt === 0) this.options.warn?.(error);
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  private take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.queue.length && count < ROWS && bytes < BATCH) bytes += this.queue[count++]!.bytes;
    this.refusals.clear();
    const taken = this.queue.splice(0, count);
    // Whatever was lost came after all that waits.
    if (this.lost > 0 && this.queued - bytes < QUEUE) {
      const times = this.lost;
      this.lost = 0;
      this.push({ what: "lost", at: this.now(), times });
    }
    return taken;
  }
}

interface Usage {
  promptTokens?: number;
  newTokens?: number;
}

function word(value: unknown): string | undefined {
  return typeof value === "string" ? value.slice(0, WORD) : undefined;
}
