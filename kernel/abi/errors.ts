// Owns the closed list of error codes and the one error class that crosses the bus.

/** What is known about the work of a failed request: surely not begun, perhaps, surely done. */
export type Executed = "no" | "maybe" | "yes";

/** code -> [what it means, may the same request succeed later, default for `executed`, process exit code]. */
export const CODES = {
  EPERM: ["the caller lacks the right", false, "no", 77],
  EINVAL: ["the request is malformed", false, "no", 64],
  ENOENT: ["no such thing", false, "no", 66],
  ENOSYS: ["no such call", false, "no", 69],
  EEXIST: ["it exists already", false, "no", 73],
  EBUSY: ["queues are full", true, "no", 75],
  EAGAIN: ["not now, later", true, "no", 75],
  ENOMEM: ["memory would not suffice", false, "no", 71],
  EDQUOT: ["a budget is spent", true, "no", 75],
  ETIME: ["the deadline passed or cannot be met", true, "maybe", 75],
  ECANCELED: ["the caller or an operator ended it", false, "maybe", 130],
  EPIPE: ["the receiver is gone", false, "maybe", 74],
  EIO: ["the broker, a disk or a file failed", true, "maybe", 74],
  ESERVICEDOWN: ["the service is not there", true, "maybe", 69],
  E2BIG: ["the message is too large", false, "no", 65],
} as const satisfies Record<string, readonly [string, boolean, Executed, number]>;

export type Code = keyof typeof CODES;

/** The body of an `error` reply. */
export interface WireError {
  code: Code;
  message: string;
  retryable: boolean;
  executed: Executed;
  retryAfterMs?: number;
}

export interface ErrorDetail {
  executed?: Executed;
  retryable?: boolean;
  retryAfterMs?: number;
  cause?: unknown;
}

/** The caller's fault, or "busy": becomes a coded reply. Everything else that is thrown is a bug and crashes the actor. */
export class SomaError extends Error {
  override name = "SomaError";
  readonly retryable: boolean;
  readonly executed: Executed;
  readonly retryAfterMs: number | undefined;

  /** `message` says what to do next, in one line. */
  constructor(
    readonly code: Code,
    message: string,
    detail: ErrorDetail = {},
  ) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    const [, retryable, executed] = CODES[code];
    this.retryable = detail.retryable ?? retryable;
    this.executed = detail.executed ?? executed;
    this.retryAfterMs = detail.retryAfterMs;
  }

  toWire(): WireError {
    const { code, message, retryable, executed, retryAfterMs } = this;
    return { code, message, retryable, executed, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  }

  static fromWire(wire: WireError): SomaError {
    return new SomaError(wire.code in CODES ? wire.code : "EIO", wire.message, wire);
  }
}

export function isSomaError(error: unknown, code?: Code): error is SomaError {
  return error instanceof SomaError && (code === undefined || error.code === code);
}
