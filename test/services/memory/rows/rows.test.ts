// Collections on the real store: what is found equals a naive search, whatever is put, deleted, evicted, restarted or broken off.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, SomaError } from "../../../../kernel/abi/errors.ts";
import { servicePermissions } from "../../../../kernel/abi/rights.ts";
import { Objects } from "../../../../kernel/ipc/objects.ts";
import { Kv } from "../../../../kernel/ipc/store.ts";
import { type BlobRecord, Blobs } from "../../../../services/memory/blobs.ts";
import type { RowsRecord } from "../../../../services/memory/rows/log.ts";
import { Rows, type RowsOptions } from "../../../../services/memory/rows/rows.ts";
import { words } from "../../../../services/memory/rows/words.ts";
import { startWorld, type World } from "../../../helpers/world.ts";

interface Given {
  id: string;
  text?: string;
  vector?: number[];
  meta?: Record<string, unknown>;
}
interface Question {
  text?: string;
  vector?: number[];
  where?: Record<string, string | number>;
  limit: number;
}

let world: World;
let kv: Kv<RowsRecord>;
let objects: Objects;
let starts = 0;

const open = (options: Partial<RowsOptions> = {}, of = kv, at = objects) =>
  Rows.open(of, at, { prefix: `rows-t${starts++}`, ...options });
/** What the next start of the service does. */
async function restart(options: Partial<RowsOptions> = {}): Promise<Rows> {
  const rows = await open(options);
  await Blobs.open(kv as unknown as Kv<BlobRecord>, objects, {
    ...{ prefix: `t${starts}`, quota: () => 0 },
    others: rows.known(),
  });
  return rows;
}
const clear = (rows: Rows) => rows.unindex("app", "c");

test.before(async () => {
  world = await startWorld({ stores: true });
  const bus = await world.connect("memory-1", servicePermissions("memory", "memory-1", 1));
  kv = await Kv.open(bus, "data");
  objects = await Objects.open(bus, "blobs");
});
test.after(() => world.stop());

/** Scores of everything that matches, from the definitions. */
function naive(rows: ReadonlyMap<string, Given>, { text, vector, where = {} }: Question) {
  const matches = ({ meta }: Given) => Object.entries(where).every(([name, value]) => meta?.[name] === value);
  const length = (list: number[]) => Math.hypot(...list);
  const cosine = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0) / length(a) / length(b);
  const texts = [...rows.values()].flatMap((row) =>
    row.text === undefined ? [] : [{ id: row.id, list: words(row.text) }],
  );
  const mean = texts.reduce((sum, { list }) => sum + list.length, 0) / texts.length;
  const bm25 = (list: string[]) =>
    [...new Set(words(text!, true))].reduce((sum, word) => {
      const holders = texts.filter((other) => other.list.includes(word)).length;
      const count = list.filter((other) => other === word).length;
      const idf = Math.log(1 + (texts.length - holders + 0.5) / (holders + 0.5));
      return sum + (idf * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * list.length) / mean));
    }, 0);
  const ranked = (scores: [string, number][]) =>
    scores
      .filter(([id]) => matches(rows.get(id)!))
      .sort(([a, x], [b, y]) => (Math.abs(x - y) < 1e-6 ? (a < b ? -1 : 1) : y - x));
  const byMeaning =
    vector && ranked([...rows].flatMap(([id, row]) => (row.vector ? [[id, cosine(vector, row.vector)]] : [])));
  const byWords =
    text === undefined
      ? undefined
      : ranked(texts.map(({ id, list }): [string, number] => [id, bm25(list)]).filter(([, score]) => score > 0));
  return (byMeaning ?? byWords)!;
}

async function compare(rows: Rows, held: ReadonlyMap<string, Given>, question: Question): Promise<void> {
  const { text, vector, limit } = question;
  const { hits } = await rows.search("app", "c", question);
  for (const { id, text, meta } of hits) {
    assert.is(text, held.get(id)!.text);
    assert.is(JSON.stringify(meta), JSON.stringify(held.get(id)!.meta));
  }
  if (text !== undefined && vector !== undefined) return compareFused(rows, question, hits);
  const wanted = naive(held, question);
  const scores = new Map(wanted);
  assert.is(new Set(hits.map(({ id }) => id)).size, hits.length);
  assert.is(hits.length, Math.min(limit, wanted.length));
  // Rows whose scores differ by rounding alone may stand in either order.
  for (const [i, { id, score }] of hits.entries())
    for (const other of [wanted[i]![1], scores.get(id)!])
      assert.ok(Math.abs(score - other) < 1e-5, `${score} for ${other}`);
}

/** By the definition, from the two rankings that are fused. */
async function compareFused(rows: Rows, { text, vector, ...rest }: Question, hits: { id: string; score: number }[]) {
  const fused = new Map<string, number>();
  for (const question of [{ text: text! }, { vector: vector! }]) {
    const ranking = await rows.search("app", "c", { ...rest, ...question, limit: 100 });
    for (const [rank, { id }] of ranking.hits.entries()) fused.set(id, (fused.get(id) ?? 0) + 1 / (61 + rank));
  }
  const wanted = [...fused].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, rest.limit);
  assert.equal(
    hits.map(({ id, score }) => [id, score]),
    wanted,
  );
}

const word = fc.constantFrom("cat", "Cat", "dog", "the", "tree", "今天", "天气", "été");
const text = fc.array(word, { minLength: 1, maxLength: 6 }).map((list) => list.join(" "));
// Whole numbers: directions that are equal are so exactly, those that are not are far enough apart for float32.
const vector = fc
  .array(fc.integer({ min: -3, max: 3 }), { minLength: 3, maxLength: 3 })
  .filter((list) => list.some(Boolean));
const kind = fc.constantFrom("a", "b");
const row = fc
  .record(
    { id: fc.integer({ min: 0, max: 12 }).map((n) => `r${n}`), text, vector, meta: fc.record({ kind }) },
    { requiredKeys: ["id"] },
  )
  .filter(({ text, vector }) => text !== undefined || vector !== undefined);
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ index: fc.array(row, { minLength: 1, maxLength: 5 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      unindex: fc.array(
        fc.integer({ min: 0, max: 12 }).map((n) => `r${n}`),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ restart: true }) },
  { weight: 1, arbitrary: fc.constant({ elsewhere: true }) },
);
const question = fc
  .record(
    { text, vector, where: fc.record({ kind }), limit: fc.integer({ min: 1, max: 8 }) },
    { requiredKeys: ["limit"] },
  )
  .filter(({ text, vector }) => text !== undefined || vector !== undefined);

test("what is found is what a naive search finds, whatever was put, deleted, evicted and restarted", async () => {
  // Small segments and a cache for one collection: merging, compaction, cutting and eviction happen all the time.
  const options = { segmentBytes: 400, cacheBytes: 1 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 14 }),
      fc.array(question, { minLength: 3, maxLength: 6 }),
      async (steps, questions) => {
        let rows = await restart(options);
        const held = new Map<string, Given>();
        for (const step of steps) {
          if ("restart" in step) rows = await restart(options);
          if ("elsewhere" in step) await rows.index("app", "other", [{ id: "x", text: "cat" }]);
          if ("index" in step) {
            const given = step.index as Given[];
            for (const row of given) held.set(row.id, row);
            assert.is((await rows.index("app", "c", given)).rows, held.size);
          }
          if ("unindex" in step) {
            const gone = new Set(step.unindex.filter((id) => held.delete(id)));
            assert.is(await rows.unindex("app", "c", step.unindex), gone.size);
          }
          if (held.size > 0) for (const question of questions) await compare(rows, held, question as Question);
          else
            assert.is(
              (await rows.search("app", "c", { text: "cat", limit: 1 }).catch((error) => error)).code,
              "ENOENT",
            );
        }
        await rows.wipe("app");
        assert.equal(await objects.ids(), [], "nothing is left");
      },
    ),
    { numRuns: 25 },
  );
});

/** Stores that break at the given write, and at all after it, as if the process had died there: before it, or after. */
function breaking(at: number, before: boolean): [Kv<RowsRecord>, Objects, () => number] {
  let writes = 0;
  const wrap = <S extends object>(store: S): S =>
    new Proxy(store, {
      get(target, name) {
        const method = (target as Record<PropertyKey, unknown>)[name];
        if (typeof method !== "function") return method;
        return (...args: unknown[]) => {
          if (!["put", "del"].includes(String(name))) return method.apply(target, args);
          writes += 1;
          const broken = () => Promise.reject(new SomaError("EIO", "broken here"));
          if (writes > at || (writes === at && before)) return broken();
          return writes < at ? method.apply(target, args) : method.apply(target, args).then(broken);
        };
      },
    });
  return [wrap(kv), wrap(objects), () => writes];
}

const ids = async (rows: Rows) =>
  (await rows.search("app", "c", { text: "word", limit: 100 })).hits.map(({ id, meta }) => `${id}:${meta?.v}`).sort();
const some = (from: number, to: number, v: number) =>
  Array.from({ length: to - from }, (_, i) => ({ id: `r${from + i}`, text: "word", meta: { v } }));

test("a change, a merge or a compaction that breaks off at any write loses nothing and leaves no object", async () => {
  // Cut in pieces: compaction writes several objects and drops several.
  const options = { segmentBytes: 300 };
  const before = some(0, 30, 1).map(({ id }) => `${id}:1`);
  const changes: [string, (rows: Rows) => Promise<unknown>, string[]][] = [
    ["put", (rows) => rows.index("app", "c", some(30, 31, 1)), [...before, "r30:1"]],
    [
      "compact",
      (rows) => rows.index("app", "c", some(0, 28, 2)),
      [...some(0, 28, 2).map(({ id }) => `${id}:2`), "r28:1", "r29:1"],
    ],
    [
      "delete",
      (rows) =>
        rows.unindex(
          "app",
          "c",
          some(0, 20, 1).map(({ id }) => id),
        ),
      before.slice(20),
    ],
  ];
  for (const [what, change, after] of changes)
    for (let at = 1, done = false; !done; at++)
      for (const early of [true, false]) {
        const whole = await restart(options);
        for (let i = 0; i < 30; i += 5) await whole.index("app", "c", some(i, i + 5, 1));
        const [brokenKv, brokenObjects, writes] = breaking(at, early);
        const broken = await open(options, brokenKv, brokenObjects);
        const outcome = await change(broken).then(
          () => "done",
          (error) => error,
        );
        if (outcome !== "done") assert.ok(isSomaError(outcome, "EIO"), `${outcome}`);
        done = writes() < at;
        const next = await restart(options);
        const there = await ids(next);
        if (outcome === "done") assert.equal(there, [...after].sort());
        else
          assert.ok(
            [before, after].some((wanted) => wanted.toSorted().join() === there.join()),
            `${what}, write ${at}: ${there}`,
          );
        assert.equal((await objects.ids()).sort(), [...next.known()].sort());
        await clear(next);
      }
});

test("who did not see another's change is refused, and then goes on from it", async () => {
  const [old, now] = [await open(), await open()];
  await old.index("app", "c", some(0, 3, 1));
  await now.index("app", "c", some(1, 6, 2));
  const refused = await old.index("app", "c", some(9, 10, 3)).catch((error) => error);
  assert.ok(isSomaError(refused, "EAGAIN"), `${refused}`);
  await old.index("app", "c", some(9, 10, 3));
  const all = ["r0:1", "r1:2", "r2:2", "r3:2", "r4:2", "r5:2", "r9:3"];
  assert.equal(await ids(old), all);
  const next = await restart();
  assert.equal(await ids(next), all);
  await clear(next);
});

test("many small changes make few segments, and each byte is written a few times only", async () => {
  const rows = await open();
  let put = 0;
  const counting = new Proxy(objects, {
    get: (target, name) =>
      name === "put"
        ? async (id: string, pieces: AsyncIterable<Uint8Array>) => {
            const size = await target.put(id, pieces);
            put += size;
            return size;
          }
        : (target as never as Record<PropertyKey, unknown>)[name] instanceof Function
          ? (target as never as Record<PropertyKey, (...args: never[]) => unknown>)[name]!.bind(target)
          : undefined,
  });
  const counted = await open({}, kv, counting);
  for (let i = 0; i < 128; i++) await counted.index("app", "c", some(i, i + 1, 1));
  const { bytes } = counted.collections("app")[0]!;
  assert.ok(put < 9 * bytes, `${put} bytes were written for ${bytes}`);
  assert.ok((await objects.ids()).length <= 8);
  // Putting the same again and again does not make it grow: the dead are cleared away.
  for (let i = 0; i < 128; i++) await counted.index("app", "c", some(i % 16, (i % 16) + 8, i));
  assert.ok(counted.collections("app")[0]!.bytes < 3 * bytes);
  await clear(rows);
  await clear(counted);
});

test("a collection, a namespace and the number of collections have limits, which deleting makes room in", async () => {
  const rows = await open({ collectionBytes: 2_000, namespaceBytes: 3_000, collections: 3 });
  const put = (name: string, n: number) => rows.index("app", name, [{ id: `${n}`, text: "x".repeat(900) }]);
  const refusal = async (promise: Promise<unknown>): Promise<SomaError> => {
    const outcome = await promise.catch((error) => error);
    assert.instance(outcome, SomaError);
    return outcome as SomaError;
  };
  await put("a", 1);
  await put("a", 2);
  // The same again is no more than before, dead or not.
  for (let i = 0; i < 4; i++) await put("a", 2);
  const full = await refusal(put("a", 3));
  assert.is(full.code, "EDQUOT");
  assert.match(full.message, "memory.unindex");
  await put("b", 1);
  assert.match((await refusal(put("b", 2))).message, "the collections of app");
  await rows.index("app", "c", [{ id: "1", text: "x" }]);
  assert.match((await refusal(rows.index("app", "d", [{ id: "1", text: "x" }]))).message, "3 collections");
  await rows.unindex("app", "a", ["1"]);
  await put("b", 2);
  assert.is(await rows.wipe("app"), 3);
});

test.run();
