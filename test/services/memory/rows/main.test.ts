// The real program on the real store: what it acknowledged is found after kill -9 in the middle of changes.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { startKernel } from "../../../helpers/kernel.ts";
import { startWorld } from "../../../helpers/world.ts";

const ROUNDS = 3;
const ROWS = 40;

test("no acknowledged row is lost by kill -9 in the middle of indexing, merging and compaction", async () => {
  const world = await startWorld({ stores: true });
  const kernel = await startKernel(world, { ps: () => ({ processes: [] }) });
  try {
    const person = await world.client("person");
    /** Row -> the last version acknowledged, and the last one sent. */
    const known = new Map<string, number>();
    const sent = new Map<string, number>();
    let version = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const program = await kernel.start("memory");
      let killed = false;
      let changes = 0;
      while (!killed) {
        version += 1;
        // The same few rows again and again: half of them are dead soon, and everything is rewritten.
        const ids = Array.from({ length: 1 + (version % 9) }, (_, i) => `r${(version * 7 + i) % ROWS}`);
        for (const id of ids) sent.set(id, version);
        const rows = ids.map((id) => ({ id, text: "word", vector: [version, 1], meta: { version } }));
        const change = person.call("memory.index", { rows }, { retry: false });
        changes += 1;
        // Late enough for merges, and with a change on its way.
        if (changes === 40 + round) {
          killed = true;
          await kernel.kill("memory", program);
        }
        const stored = await change.then(
          () => true,
          () => false,
        );
        assert.ok(stored || killed, "nothing fails before the kill");
        if (stored) for (const id of ids) known.set(id, version);
      }
    }
    await kernel.start("memory");
    const { hits } = await person.call("memory.search", { text: "word", limit: ROWS });
    const found = new Map(hits.map(({ id, meta }) => [id, meta?.version as number]));
    for (const [id, least] of known) {
      const got = found.get(id) ?? 0;
      assert.ok(got >= least && got <= sent.get(id)!, `${id}: version ${got}, acknowledged ${least}`);
    }
    const { collections } = await person.call("memory.collections", {});
    assert.equal(
      collections.map(({ rows, dims }) => ({ rows, dims })),
      [{ rows: found.size, dims: 2 }],
    );
    const { figures } = await person.call("memory.stat", {});
    assert.is((figures.search as { loaded: number }).loaded, 1);
  } finally {
    await kernel.stop();
    await world.stop();
  }
});

test.run();
