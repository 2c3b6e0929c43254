import { test } from "uvu";
import * as assert from "uvu/assert";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
test.before(async () => {
  world = await startWorld();
});
test.after(() => world.stop());

test("a handler that goes on after its request is over counts as overdue until it ends", async () => {
  let end: () => void = () => {};
  const { server } = await world.serve("memory", {
    get: () => new Promise((resolve) => (end = () => resolve({ value: 1, revision: 1 }))),
  });
  const client = await world.client("person");
  const expired = client.call("memory.get", { key: "x" }, { ttl: 150, retry: false }).catch((error) => error);
  while (server.inflight === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.is(server.overdueMs, 0, "it has its time");
  assert.is((await expired).code, "ETIME");
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.ok(server.overdueMs >= 25);
  end();
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(server.overdueMs, 0);
});

test.run();
