// Owns the way of large values: to and from memory, in pieces, for whom the work is done.
import type { Principal } from "../../kernel/abi/headers.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import type { Client } from "../../kernel/ipc/client.ts";

interface Options {
  for?: Principal;
  signal?: AbortSignal;
}

/** The pieces of a blob, as they arrive. */
export async function* readBlob(client: Client, blob: string, options: Options = {}): AsyncGenerator<Uint8Array> {
  const stream = client.stream("memory.read", { blob }, options);
  for await (const { data } of stream) yield data;
  await stream.result;
}

/** A whole blob. */
export async function loadBlob(client: Client, blob: string, options: Options = {}): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of readBlob(client, blob, options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Stores bytes; returns `blob:<sha256>`. */
export async function storeBlob(
  client: Client,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  size: number,
  options: Options = {},
): Promise<string> {
  const stream = client.stream("memory.write", { size }, options);
  // A refusal ends the request while pieces are still on the way: it is the error that counts.
  await Promise.all([stream.result, stream.upload(cut(pieces))]).catch(async (error) => {
    await stream.result;
    throw error;
  });
  return (await stream.result).blob;
}

/** Pieces that fit a message, whatever their size was. */
async function* cut(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += LIMITS.chunk) yield piece.subarray(at, at + LIMITS.chunk);
  }
}
