// Chooses the next token from logits: a pure function of (logits, settings, history, position). The order is that of Hugging
// Face: repetition penalty, allowed ids, temperature, top-k, top-p, min-p. Equal logits rank by id, the lower one first.

export interface SampleSettings {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  seed: number;
  allowed?: readonly number[] | undefined;
}

/** The id for `position`. `logits` are changed in place: the ids of `history` are penalised. */
export function sample(
  logits: Float32Array,
  settings: SampleSettings,
  history: ReadonlySet<number>,
  position: number,
): number {
  penalise(logits, settings.repetitionPenalty, history);
  const { temperature, topK, topP, minP } = settings;
  let ids: ArrayLike<number> | undefined = settings.allowed && Int32Array.from(settings.allowed).sort();
  if (temperature === 0) return likeliest(logits, ids);
  if (topK > 0 && topK < (ids ?? logits).length) ids = best(logits, ids, topK);

  const peak = logits[likeliest(logits, ids)]!;
  const weights = new Float64Array((ids ?? logits).length);
  for (let i = 0; i < weights.length; i++) weights[i] = Math.exp((logits[ids ? ids[i]! : i]! - peak) / temperature);
  if (topP < 1) keepNucleus(weights, topP);

  // The peak's weight is 1, so min-p compares weights as they are.
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]! >= minP ? weights[i]! : (weights[i] = 0);
  let left = uniform(settings.seed, position) * total;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    if ((left -= weights[i]!) < 0) break;
  }
  return ids ? ids[last]! : last;
}

/** A number in [0, 1) with 53 random bits that depends on (seed, position) only. */
export function uniform(seed: number, position: number): number {
  const high = scramble(scramble(seed ^ 0x9e3779b9) ^ position);
  const low = scramble(high ^ scramble(position ^ 0x7f4a7c15));
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

// The finaliser of MurmurHash3: each bit of the input changes half of the output's.
function scramble(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

function penalise(logits: Float32Array, penalty: number, history: ReadonlySet<number>): void {
  if (penalty === 1) return;
  for (const id of history) logits[id]! *= logits[id]! < 0 ? penalty : 1 / penalty;
}

function likeliest(logits: Float32Array, ids: ArrayLike<number> | undefined): number {
  let first = ids ? ids[0]! : 0;
  for (let i = 1; i < (ids ?? logits).length; i++) {
    const id = ids ? ids[i]! : i;
    if (logits[id]! > logits[first]! || (logits[id] === logits[first] && id < first)) first = id;
  }
  return first;
}

/** The `count` likeliest of `ids` (undefined: of all), by rank. */
export function best(logits: Float32Array, ids: ArrayLike<number> | undefined, count: number): number[] {
  const rank = (a: number, b: number) => logits[b]! - logits[a]! || a - b;
  // The pool is cut whenever it has grown to twice its size.
  const pool: number[] = [];
  let worst = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < (ids ?? logits).length; i++) {
    const id = ids ? ids[i]! : i;
    if (logits[id]! < worst) continue;
    pool.push(id);
    if (pool.length < 2 * count + 32) continue;
    pool.sort(rank).length = count;
    worst = logits[pool[count - 1]!]!;
  }
  return pool.sort(rank).slice(0, count);
}

// Zeroes the weights outside the fewest likeliest whose share of the total reaches `share`; among equals the first stay.
// Weights below (1 - share) / n of the total cannot be among them (all such together weigh less than 1 - share), so only
// the others are sorted, as plain numbers: on flat distributions they are many.
function keepNucleus(weights: Float64Array, share: number): void {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  const least = ((1 - share) * total) / weights.length;
  const rising = weights.filter((weight) => weight >= least).sort();
  let at = rising.length - 1;
  let sum = rising[at]!;
  while (at > 0 && sum < share * total) sum += rising[--at]!;
  const smallest = rising[at]!;
  let equals = rising.length - at;
  for (let i = 0; i < weights.length; i++) if (weights[i]! > smallest) equals--;
  for (let i = 0; i < weights.length; i++)
    if (weights[i]! < smallest || (weights[i] === smallest && equals-- <= 0)) weights[i] = 0;
}
