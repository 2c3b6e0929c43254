// Owns how failures look to an OpenAI client: status, body, when to come again.
import { type Code, SomaError } from "../../kernel/abi/errors.ts";

/** Statuses that we use. 499 is nginx's "the client left": nobody reads it but the log. */
export type Status = 400 | 401 | 403 | 404 | 409 | 413 | 429 | 499 | 500 | 501 | 503 | 504;

/** code -> [status, OpenAI's `type`, its `code`]. */
const SHAPES: Record<Code, readonly [Status, string, string]> = {
  EPERM: [403, "permission_error", "permission_denied"],
  EINVAL: [400, "invalid_request_error", "invalid_value"],
  ENOENT: [404, "invalid_request_error", "model_not_found"],
  ENOSYS: [501, "invalid_request_error", "unsupported"],
  EEXIST: [409, "invalid_request_error", "conflict"],
  E2BIG: [413, "invalid_request_error", "request_too_large"],
  EBUSY: [429, "rate_limit_error", "rate_limit_exceeded"],
  EAGAIN: [429, "rate_limit_error", "rate_limit_exceeded"],
  EDQUOT: [429, "insufficient_quota", "insufficient_quota"],
  ECANCELED: [499, "api_error", "canceled"],
  EPIPE: [499, "api_error", "canceled"],
  ENOMEM: [503, "api_error", "overloaded"],
  EIO: [503, "api_error", "unavailable"],
  ESERVICEDOWN: [503, "api_error", "unavailable"],
  ETIME: [504, "api_error", "timeout"],
};

/** A failure that HTTP knows and the system does not, or of which the client is to be told more. */
export class HttpError extends Error {
  constructor(
    readonly status: Status,
    readonly type: string,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

export const badKey = (message: string) => new HttpError(401, "invalid_request_error", "invalid_api_key", message);

/** What a client is answered. Undefined for our own bugs, whose text is not for clients. */
export function answer(error: unknown): { status: Status; headers: Record<string, string>; body: object } | undefined {
  if (error instanceof HttpError) {
    const { status, type, code, message, param } = error;
    // What is left of a body that was too large is not read, so the connection is of no further use.
    const headers: Record<string, string> = status === 413 ? { connection: "close" } : {};
    return { status, headers, body: { error: { message, type, param, code } } };
  }
  if (!(error instanceof SomaError)) return undefined;
  const [status, type, code] = SHAPES[error.code];
  const wait = error.retryAfterMs ?? 1_000;
  // The second is OpenAI's own, which its clients prefer.
  const headers: Record<string, string> =
    status === 429 || status === 503
      ? { "retry-after": String(Math.ceil(wait / 1_000)), "retry-after-ms": String(Math.ceil(wait)) }
      : {};
  return { status, headers, body: { error: { message: error.message, type, param: null, code } } };
}
