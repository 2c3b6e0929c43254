import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
test.before(async () => {
  world = await startWorld();
});
test.after(() => world.stop());

/** What becomes of five calls that arrive together with one that keeps the loop busy, while `running` others run. */
async function crowded(running: number): Promise<string[]> {
  let end: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  const { server, bus } = await world.serve("memory", {
    get: ({ key }) => {
      if (key === "hold") return over.then(() => ({ value: 1, revision: 1 }));
      const until = performance.now() + (key === "busy" ? 300 : 0);
      while (performance.now() < until);
      return { value: 1, revision: 1 };
    },
  });
  const client = await world.client("person");
  const get = (key: string) => client.call("memory.get", { key }, { ttl: 20_000, retry: false });
  const held = Array.from({ length: running }, () => get("hold"));
  while (server.inflight < running) await new Promise((resolve) => setTimeout(resolve, 5));
  // In one packet, so that they are read in one turn of the loop.
  const busy = get("busy");
  const rest = Array.from({ length: 5 }, (_, i) =>
    get(`k${i}`).then(
      () => "served",
      ({ code, executed, retryAfterMs }: SomaError) => `${code} ${executed} ${retryAfterMs}`,
    ),
  );
  const outcomes = await Promise.all(rest);
  await busy;
  end();
  await Promise.all(held);
  await server.drain(1_000);
  await bus.close();
  return outcomes;
}

test("a crowded service whose loop is behind turns newcomers away at the door, and says when to come again", async () => {
  assert.equal(await crowded(32), Array(5).fill("EBUSY no 100"));
});

test("one that few use serves all, however late", async () => {
  assert.equal(await crowded(3), Array(5).fill("served"));
});

test.run();
