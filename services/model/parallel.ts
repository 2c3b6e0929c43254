// Owns how much of one request is in flight at a time.

/** Sequences in flight: enough for full batches, few enough to leave the queue to others. */
const TOGETHER = 32;

/** Results in order. The first failure is the failure of all. */
export async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at]!);
  };
  await Promise.all(Array.from({ length: Math.min(TOGETHER, items.length) }, lane));
  return results;
}
