import { test } from "uvu";
import * as assert from "uvu/assert";
import { about, createLog } from "../../../kernel/ipc/log.ts";

/** The lines that `use` has a logger write. */
function lines(use: (log: ReturnType<typeof createLog>) => void): string {
  const write = process.stdout.write;
  let out = "";
  process.stdout.write = ((line: string) => {
    out += line;
    return true;
  }) as typeof write;
  try {
    use(createLog("model-1", undefined, { epoch: 3 }));
  } finally {
    process.stdout.write = write;
  }
  return out;
}

test("a line is JSON that says who, when and what", () => {
  const line = JSON.parse(lines((log) => log.warn({ device: "device-1", tokens: 12 }, "slow")));
  assert.is(line.actor, "model-1");
  assert.is(line.epoch, 3);
  assert.is(line.level, "warn");
  assert.is(line.message, "slow");
  assert.is(line.device, "device-1");
  assert.is(line.tokens, 12, "a count of tokens is none of them");
  assert.ok(line.time > 1.7e12);
});

test("what a person wrote, what came of it and keys are hidden however deep they lie", () => {
  const marker = "MARKER";
  const written = lines((log) => {
    for (const name of ["prompt", "text", "texts", "messages", "seed", "jwt", "creds", "ids", "tokens"]) {
      log.info({ [name]: marker }, "flat");
      log.info({ request: { input: [{ [name]: [{ content: marker }] }] } }, "deep");
    }
  });
  assert.is(written.split("\n").length - 1, 18);
  assert.not.match(written, marker);
});

test("a line with a request behind it says who asked what, and names its trace", () => {
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const request = { caller: "alice", call: "generate", id: "c1", traceparent, input: { prompt: "MARKER" } };
  const written = lines((log) => log.error({ ...about(request), err: new Error("broken") }, "crashed"));
  const { actor, epoch, caller, call, id, trace } = JSON.parse(written);
  assert.equal([actor, epoch, caller, call, id, trace], ["model-1", 3, "alice", "generate", "c1", "a".repeat(32)]);
  assert.not.match(written, "MARKER");
  assert.not.ok("trace" in about({ ...request, traceparent: "" }), "one that is not traced has none");
});

test("an error keeps its message and stack", () => {
  const line = JSON.parse(lines((log) => log.error({ err: new Error("broken") }, "failed")));
  assert.is(line.err.message, "broken");
  assert.match(line.err.stack, "log.test");
});

test.run();
