// Owns how large a model's KV memory becomes: from its config and what the budget leaves. Pure.
import { SomaError } from "../../kernel/abi/errors.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";

/** KV is kept in f32: keys and values of every layer. */
const BYTES = 4;
/** Full contexts that are worth having at once; more would only be cache. */
const CONTEXTS = 64;
/** A model that knows more positions than this need not have room for all of them. */
const LEAST_CONTEXT = 4096;
/** What one WebAssembly memory leaves for weights and KV: unasked, no model gets more. */
const ONE_MEMORY = 3.5 * 2 ** 30;

export interface Room {
  /** Bytes that weights and KV may take on this device, and what others have of them. */
  budgetBytes: number;
  usedBytes: number;
}

/** Bytes of one block of 16 tokens. EINVAL when config.json lacks a size. */
export function blockBytes(config: Record<string, unknown>): number {
  const number = (field: string, fallback?: number): number => {
    const value = config[field] ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    throw new SomaError("EINVAL", `config.json: ${field} must be a positive integer, not ${JSON.stringify(value)}`);
  };
  const heads = number("num_attention_heads");
  const width = number("head_dim", Math.floor(number("hidden_size") / heads));
  return 2 * number("num_hidden_layers") * number("num_key_value_heads", heads) * width * BYTES * BLOCK_TOKENS;
}

/**
 * Blocks for a model whose weights take `weightBytes`: what was asked for, or 64 full contexts, or half of what is left.
 * ENOMEM with the figures when not even one context of 4096 positions, or the model's shorter one, fits.
 */
export function blocksFor(
  config: Record<string, unknown>,
  weightBytes: number,
  room: Room,
  asked: number | undefined,
): number {
  const block = blockBytes(config);
  const context = Number(config.max_position_embeddings ?? 2048);
  const full = Math.ceil(context / BLOCK_TOKENS);
  const least = Math.min(full, LEAST_CONTEXT / BLOCK_TOKENS);
  const left = room.budgetBytes - room.usedBytes - weightBytes;
  const fits = Math.floor((asked === undefined ? Math.min(left / 2, ONE_MEMORY - weightBytes) : left) / block);
  const wanted = asked === undefined ? full * CONTEXTS : Math.floor(asked / block);
  const blocks = Math.min(wanted, fits);
  if (blocks >= 1 && (asked !== undefined ? fits >= wanted : fits >= least)) return blocks;
  const mb = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MB`;
  const need = asked === undefined ? least * block : asked;
  throw new SomaError(
    "ENOMEM",
    `needs ${mb(weightBytes)} for weights and ${mb(need)} for KV, of ${mb(room.budgetBytes)} others have ` +
      `${mb(room.usedBytes)}: unload a model, use int8, or raise SOMA_DEVICE_MEMORY`,
  );
}
