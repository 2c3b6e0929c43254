// The short run: five kills of each service, one of kernel and broker, and all the rest; a broken promise is named.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { run } from "./run.ts";

test("whatever is killed under load comes back by itself, and nothing that was accepted is lost or done twice", async () => {
  const figures = await run({
    rounds: 5,
    within: Number.POSITIVE_INFINITY,
    long: false,
    say: (line) => console.log(line),
  });
  console.log(figures.table());
  assert.equal(
    figures.broken().map(({ part, what, value, note }) => `${part}: ${what}: ${value} ${note ?? ""}`),
    [],
  );
  // A run that measured nothing has shown nothing.
  assert.ok(figures.all.length > 60, `${figures.all.length} figures`);
});

test.run();
