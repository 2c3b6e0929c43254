// Owns the encoding of message bodies: MessagePack, with sizes checked.
import { Decoder, Encoder } from "@msgpack/msgpack";
import { SomaError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

const encoder = new Encoder({ ignoreUndefined: true });
const decoder = new Decoder();

/** Encodes a body; E2BIG when it must go by reference instead. */
export function encode(value: unknown): Uint8Array {
  const bytes = encoder.encode(value);
  if (bytes.length > LIMITS.body) {
    const kb = Math.ceil(bytes.length / 1024);
    const what = `a message of ${kb} KB is over ${LIMITS.body / 1024} KB`;
    throw new SomaError("E2BIG", `${what}: send lists in several calls, and one large value with memory.write`);
  }
  return bytes;
}

/** Decodes a body; EINVAL when it is no MessagePack. An empty body is undefined. */
export function decode(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined;
  if (bytes.length > LIMITS.body) {
    throw new SomaError(
      "E2BIG",
      `a message of ${bytes.length} bytes is over ${LIMITS.body}: send it with memory.write`,
    );
  }
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new SomaError("EINVAL", "the body is not MessagePack", { cause });
  }
}

/** The same for what nobody is answered about, as events are: undefined for garbage, so that its sender crashes no one. */
export function tryDecode(bytes: Uint8Array): unknown {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof SomaError) return undefined;
    throw error;
  }
}
