// What the server records of calls on a real broker, and which replies wait for it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, SomaError } from "../../../kernel/abi/errors.ts";
import { appPermissions } from "../../../kernel/abi/rights.ts";
import { Audit } from "../../../kernel/ipc/audit.ts";
import { type Batch, type Record, unpack } from "../../../kernel/ipc/chain.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let app: Client;
const stored: Batch[] = [];
/** Resolves once the store may go on. */
let gate = Promise.resolve();
const audit = new Audit({
  ...{ instance: "model-1", epoch: 1 },
  store: async (batch) => {
    await gate;
    stored.push(batch);
  },
});
const calls = () =>
  stored
    .flatMap(({ rows }) => rows.map((row) => unpack(row)!))
    .filter((record): record is Extract<Record, { what: "call" }> => record.what === "call");
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test.before(async () => {
  world = await startWorld();
  await world.serve(
    "model",
    {
      train: ({ name }) => {
        if (name === "bad") throw new SomaError("EINVAL", "no such data");
        return { job: `job-${name}` };
      },
      tokenize: () => ({ ids: [1], pieces: ["a"] }),
      list: () => new Promise(() => {}),
    },
    {
      audit,
      authorize: (caller, call) => {
        if (call === "model.show") throw new SomaError("EPERM", "not granted");
        return { principal: caller, grant: "g7", revision: 3 };
      },
    },
  );
  const granted = ["model.train", "model.tokenize", "model.show", "model.list"];
  app = await world.client("alice", appPermissions("alice", granted));
});
test.after(async () => {
  await audit.close(1_000);
  await world.stop();
});

const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => assert.unreachable("it succeeded"),
    (error) => (isSomaError(error) ? error.code : Promise.reject(error)),
  );

test("a submit is answered only once its record is stored; other calls do not wait", async () => {
  let open: () => void = () => {};
  gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  let answered = false;
  const job = app.call("model.train", { name: "tiny", data: "builtin" }).then((output) => {
    answered = true;
    return output;
  });
  await app.call("model.tokenize", { text: "a" });
  await sleep(100);
  assert.is(answered, false);
  open();
  assert.equal(await job, { job: "job-tiny" });
  const [first] = calls();
  assert.equal([first?.call, first?.code, first?.model], ["model.train", "OK", "tiny"]);
});

test("a submit whose deadline passes while its record waits still has one outcome", async () => {
  let open: () => void = () => {};
  gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const before = calls().length;
  const code = await refusal(app.call("model.train", { name: "late", data: "builtin" }, { ttl: 200, retry: false }));
  assert.is(code, "ETIME");
  open();
  await sleep(300);
  const late = calls()
    .slice(before)
    .filter(({ call }) => call === "model.train");
  assert.equal(
    late.map(({ code: outcome }) => outcome),
    ["OK"],
  );
});

test("who, under which grant, and how it ended is recorded, also of what was turned away", async () => {
  const before = calls().length;
  await refusal(app.call("model.train", { name: "bad", data: "builtin" }));
  await refusal(app.call("model.show", { model: "tiny" }));
  await refusal(app.call("model.tokenize", {} as { text: string }));
  await refusal(app.call("model.list", {}, { ttl: 100, retry: false }));
  await sleep(400);
  const got = calls().slice(before);
  assert.equal(
    got.map(({ call, code, grant, revision }) => [call, code, grant, revision]),
    [
      ["model.train", "EINVAL", "g7", 3],
      ["model.show", "EPERM", undefined, undefined],
      ["model.tokenize", "EINVAL", undefined, undefined],
      ["model.list", "ETIME", "g7", 3],
    ],
  );
  assert.ok(got.every(({ caller, principal }) => caller === "alice" && principal === "alice"));
});

test("a reply that is aimed at somebody else is recorded as refused", async () => {
  const before = calls().length;
  const raw = await world.connect("mallory");
  raw.publish("sys.mallory.model.any.tokenize", new Uint8Array(0), { id: "x1" }, "_INBOX.alice.zzz");
  await sleep(400);
  const [record] = calls().slice(before);
  assert.equal([record?.caller, record?.code, record?.id], ["mallory", "EPERM", "x1"]);
});

test.run();
