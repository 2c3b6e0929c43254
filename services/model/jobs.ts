// Owns the rows of jobs: journalled before they are acknowledged, stored at each step, told to those who follow.
import { createHash } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import { roleOf } from "../../kernel/abi/names.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import type { Kv } from "../../kernel/ipc/store.ts";
import type { TrainInput } from "./hyper.ts";
import { FINAL, type Job } from "./job.ts";
import type { LossPoint } from "./record.ts";

type Row = Output<"model.follow">;

interface Stored {
  job: Job;
  state: string;
  updatedAt: number;
}

export interface JobsOptions {
  bucket: Pick<Kv<Stored>, "put" | "del" | "entries">;
  /** Appends to the journal; resolves once it is stored. `dedupe`: the same one twice is stored once. */
  append: (subject: string, value: unknown, dedupe: string) => Promise<unknown>;
  now: () => number;
  /** A row that cannot be stored for a reason that will not pass. */
  crash: (error: unknown) => void;
}

/** Progress is stored this often at most; a follower sees all of it. */
const STORE_MS = 1_000;
/** Ended jobs stay longer than the journal does: an entry without a row would be run again. */
const KEEP_MS = 31 * 24 * 3600_000;
/** Unread rows of a follower; older progress gives way. */
const BEHIND = 32;

const isFinal = (state: string) => (FINAL as readonly string[]).includes(state);

export class Jobs {
  private readonly rows = new Map<string, Stored>();
  private readonly followers = new Map<string, Set<(row: Row) => void>>();
  private readonly storedAt = new Map<string, number>();
  private readonly writes = new Map<string, Promise<void>>();
  private readonly dirty = new Set<string>();
  private closing: SomaError | undefined;

  private constructor(private readonly options: JobsOptions) {}

  /** Reads what is stored, and what was journalled but not stored. */
  static async open(options: JobsOptions, journal: AsyncIterable<{ value: unknown }>): Promise<Jobs> {
    const jobs = new Jobs(options);
    for (const { key, value } of await options.bucket.entries()) {
      if (isFinal(value.state) && value.updatedAt < options.now() - KEEP_MS) await options.bucket.del(key);
      else jobs.rows.set(key, value);
    }
    for await (const { value } of journal) {
      const job = value as Job;
      const known = jobs.rows.get(job.id);
      if (known && known.job.submittedAt >= job.submittedAt) continue;
      if (job.submittedAt < options.now() - KEEP_MS) continue;
      jobs.save(job, "queued");
    }
    return jobs;
  }

  /** Jobs that were not finished, as they stood; those that were cut off in their work count it as a crash. */
  unfinished(): Job[] {
    return [...this.rows.values()]
      .filter(({ state }) => !isFinal(state))
      .sort((a, b) => a.job.submittedAt - b.job.submittedAt)
      .map(({ job, state }) => ({ ...job, crashes: job.crashes + (["queued", "waiting"].includes(state) ? 0 : 1) }));
  }

  /**
   * Accepts a training: the same key of the same caller is the same job, unless that one ended without a model. Resolves
   * once it is journalled; `job` is undefined if there is nothing to begin.
   */
  async submit(
    input: TrainInput,
    owner: Principal,
    key: string,
    trace = "",
  ): Promise<{ id: string; job: Job | undefined }> {
    const id = jobId(owner.principal, key);
    const known = this.rows.get(id);
    if (known && (!isFinal(known.state) || known.state === "done")) return { id, job: undefined };
    const begun = { submittedAt: this.options.now(), attempts: 0, crashes: 0, curve: [] };
    const job: Job = { id, input, owner, ...(trace ? { trace } : {}), ...begun };
    await this.options.append(`job.submit.${id}`, job, `${id}-${known?.job.submittedAt ?? 0}`);
    // The same request may have arrived twice meanwhile.
    if (this.rows.get(id) !== known) return { id, job: undefined };
    this.save(job, "queued");
    await this.stored(id);
    return { id, job };
  }

  /** Takes a job's new state: stores it, tells it. */
  save(job: Job, state: string): void {
    this.tell(job, state);
    this.store(job.id);
  }

  /** The same for progress, which is not worth a write each time. */
  note(job: Job, state: string): void {
    this.tell(job, state);
    if (this.options.now() - (this.storedAt.get(job.id) ?? 0) >= STORE_MS) this.store(job.id);
  }

  /** Resolves when the row as it is now is stored. */
  async stored(id: string): Promise<void> {
    await this.writes.get(id);
  }

  /** Marks what works now as interrupted in good order, so that it does not count as a crash. */
  async suspend(): Promise<void> {
    for (const { job, state } of [...this.rows.values()])
      if (!isFinal(state) && state !== "queued") this.save(job, "waiting");
    await Promise.all(this.writes.values());
  }

  /** Ends all followers: the service stops. */
  close(): void {
    this.closing = new SomaError("ESERVICEDOWN", "the model service stops: follow the job again when it is back");
    for (const [id, set] of this.followers) for (const tell of set) tell(this.row(id));
  }

  /** ENOENT also for jobs of others, unless the asker is no app. */
  find(id: string, asker: string): Row {
    const found = this.rows.get(id);
    if (found === undefined || !maySee(found.job, asker))
      throw new SomaError("ENOENT", `no job "${id}": see "soma job ls"`);
    return this.row(id);
  }

  curve(id: string): LossPoint[] {
    return this.rows.get(id)!.job.curve;
  }

  list(asker: string): Row[] {
    return [...this.rows.values()]
      .filter(({ job }) => maySee(job, asker))
      .sort((a, b) => b.job.submittedAt - a.job.submittedAt)
      .map(({ job }) => this.row(job.id));
  }

  /** Gives each new row to `emit`, one after another; resolves with the last one when the job ends. */
  async follow(id: string, signal: AbortSignal, emit: (row: Row) => Promise<void>): Promise<Row> {
    const queue: Row[] = [this.row(id)];
    let wake: () => void = () => {};
    const tell = (row: Row) => {
      queue.push(row);
      if (queue.length > BEHIND) queue.shift();
      wake();
    };
    const set = this.followers.get(id) ?? new Set();
    this.followers.set(id, set.add(tell));
    signal.addEventListener("abort", () => wake(), { once: true });
    try {
      for (;;) {
        const row = queue.shift();
        if (signal.aborted) throw new SomaError("ECANCELED", "no longer followed");
        if (row !== undefined) {
          await emit(row);
          if (isFinal(row.state)) return row;
        } else {
          if (this.closing) throw this.closing;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      set.delete(tell);
      if (set.size === 0) this.followers.delete(id);
    }
  }

  /** How many there are in each state. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { state } of this.rows.values()) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }

  private row(id: string): Row {
    const { job, state, updatedAt } = this.rows.get(id)!;
    const { input, owner, submittedAt, progress, error, attempts, version } = job;
    return {
      id,
      kind: "train",
      state,
      owner: owner.principal,
      model: version === undefined ? input.name : `${input.name}@${version}`,
      submittedAt,
      updatedAt,
      attempts,
      ...(progress === undefined ? {} : { progress }),
      ...(error === undefined ? {} : { error }),
      ...(version === undefined ? {} : { result: { model: input.name, version, eval: job.eval ?? {} } }),
    };
  }

  private tell(job: Job, state: string): void {
    this.rows.set(job.id, { job, state, updatedAt: this.options.now() });
    const row = this.row(job.id);
    for (const tell of this.followers.get(job.id) ?? []) tell(row);
  }

  private store(id: string): void {
    this.dirty.add(id);
    if (!this.writes.has(id)) this.writes.set(id, this.write(id).catch(this.options.crash));
  }

  /** One write at a time for each row, always of its newest form. */
  private async write(id: string): Promise<void> {
    while (this.dirty.delete(id)) {
      this.storedAt.set(id, this.options.now());
      try {
        await this.options.bucket.put(id, this.rows.get(id)!);
      } catch (error) {
        // The broker is away: the row is kept and stored when it is back.
        if (!(error instanceof SomaError && error.code === "EIO")) throw error;
        this.dirty.add(id);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
    this.writes.delete(id);
  }
}

/** The same for the same key of the same caller, for ever. */
function jobId(caller: string, key: string): string {
  return `j${createHash("sha256").update(`${caller}\n${key}`).digest("hex").slice(0, 12)}`;
}

function maySee(job: Job, asker: string): boolean {
  return roleOf(asker) !== "app" || job.owner.principal === asker;
}
