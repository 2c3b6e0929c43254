// Owns text streams that survive the loss of a service: resubmitted with the ids that the caller has, so that the reader sees one unbroken stream.
import { type Code, SomaError } from "../../kernel/abi/errors.ts";
import type { Chunk, Input, Output } from "../../kernel/abi/syscalls.ts";
import type { CallOptions, Client } from "../../kernel/ipc/client.ts";
import type { Stream } from "../../kernel/ipc/stream.ts";

export type ResumableName = "model.generate" | "model.translate";

/** What means that the other side is gone, rather than that it refused. */
const LOST: readonly Code[] = ["ESERVICEDOWN", "EIO"];
/** What a stream that had begun may meet on its way back: its model is still being loaded again, or many come at once. */
const NOT_YET: readonly Code[] = ["EAGAIN", "EBUSY"];
/** With growing pauses, half a minute in all. */
const ATTEMPTS = 60;

export class ResumableStream<N extends ResumableName> implements AsyncIterable<Chunk<N>> {
  /** Settles once with the end of the whole stream, which goes on only while it is read. ECANCELED if its reader leaves. */
  readonly result: Promise<Output<N>>;
  private settle!: { resolve: (output: Output<N>) => void; reject: (error: unknown) => void };
  private stream: Stream<Chunk<N>, Output<N>> | undefined;
  private readonly key = Math.random().toString(36).slice(2);
  private readonly until: number;
  private canceled = false;
  private started = false;

  constructor(
    private readonly client: Client,
    private readonly name: N,
    private readonly input: Input<N>,
    private readonly options: CallOptions = {},
  ) {
    this.result = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.result.catch(() => {});
    this.until = performance.now() + (options.ttl ?? 600_000);
  }

  cancel(): void {
    this.canceled = true;
    this.stream?.cancel();
  }

  /** The whole text, for who does not want it piece by piece. */
  async text(): Promise<string> {
    let text = "";
    for await (const chunk of this) text += chunk.text;
    return text;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Chunk<N>> {
    if (this.started) throw new SomaError("EINVAL", "a stream can be read once");
    this.started = true;
    const ids: number[] = [...(this.input.resume?.ids ?? [])];
    let numerics: string | undefined;
    let sent = "";
    let lost = false;
    try {
      for (let attempt = 0; ; attempt++) {
        this.refuseIfCanceled();
        try {
          let rest: Chunk<N> | undefined;
          this.stream = this.open(ids, numerics);
          for await (const chunk of this.stream) {
            numerics ??= chunk.numerics;
            // Positions that the reader has already are dropped.
            if (chunk.pos < ids.length) continue;
            // Text without ids is what the end sets free. Only the end tells whether the reader has it already.
            if (chunk.ids.length === 0 && chunk.text !== "") {
              rest = chunk;
              continue;
            }
            ids.push(...chunk.ids);
            sent += chunk.text;
            attempt = 0;
            yield chunk;
          }
          const end = await this.stream.result;
          if (rest && end.text.endsWith(sent + rest.text)) yield rest;
          this.settle.resolve(end);
          return;
        } catch (error) {
          if (!this.mayGoOn(error, attempt, lost || ids.length > 0)) throw error;
          lost = true;
          await this.pause(error as SomaError, attempt);
        }
      }
    } catch (error) {
      this.settle.reject(error);
      throw error;
    } finally {
      this.stream?.cancel();
      this.settle.reject(new SomaError("ECANCELED", "the reader left before the end"));
    }
  }

  private refuseIfCanceled(): void {
    if (this.canceled || this.options.signal?.aborted) throw new SomaError("ECANCELED", "canceled");
  }

  private open(ids: readonly number[], numerics: string | undefined): Stream<Chunk<N>, Output<N>> {
    const { sample = {} } = this.input;
    // Sampling without a seed could not be continued: choose one here.
    const seeded = sample.temperature && !sample.seed ? { ...sample, seed: this.seed } : sample;
    const resume =
      ids.length === 0
        ? {}
        : {
            resume: {
              approximate: false,
              ...this.input.resume,
              ids: [...ids],
              ...(numerics ? { numerics } : {}),
            },
          };
    const ttl = Math.max(1, Math.ceil(this.until - performance.now()));
    return this.client.stream(
      this.name,
      { ...this.input, sample: seeded, ...resume },
      { ...this.options, ttl, key: this.key },
    );
  }

  private readonly seed = 1 + Math.floor(Math.random() * 0xfffffffe);

  private mayGoOn(error: unknown, attempt: number, begun: boolean): boolean {
    return (
      error instanceof SomaError &&
      error.retryable &&
      (LOST.includes(error.code) || (begun && NOT_YET.includes(error.code))) &&
      attempt < ATTEMPTS &&
      !this.canceled &&
      !this.options.signal?.aborted &&
      performance.now() < this.until
    );
  }

  private pause(error: SomaError, attempt: number): Promise<void> {
    // Whoever was sent away together does not come again together.
    const wait = (error.retryAfterMs ?? Math.min(500, 20 * 2 ** attempt)) * (1 + Math.random() / 2);
    return new Promise((resolve) => setTimeout(resolve, wait));
  }
}
