import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Message } from "../../../kernel/ipc/bus.ts";
import { Door, type Visitor } from "../../../kernel/ipc/door.ts";
import type { Request } from "../../../kernel/ipc/request.ts";

const message = (headers: Record<string, string>): Message => ({
  subject: "",
  reply: "",
  status: 0,
  data: new Uint8Array(),
  header: (name) => headers[name] ?? "",
});
const running = (caller: string, ttl = 1_000) => ({ caller, call: "get", ttl }) as Request;
const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "none";
};

test("a visitor is known by subject and headers alone: the body is not looked at", () => {
  const door = new Door({ owner: "memory" });
  const alice = door.meet(message({ ttl: "250" }), "alice", "get");
  assert.equal([alice.role, alice.ttl], ["app", 250]);
  assert.is(door.meet(message({}), "alice", "get").ttl, Number.POSITIVE_INFINITY);
  assert.is(
    code(() => door.meet(message({}), "alice", "nonsense")),
    "ENOSYS",
  );
  assert.is(
    code(() => door.meet(message({ abi: "999" }), "alice", "get")),
    "EINVAL",
  );
  assert.is(
    code(() => new Door({ owner: "kernel" }).meet(message({}), "alice", "spawn")),
    "EPERM",
  );
});

test("a full house, and one caller's share of it, turn away; room again lets in", () => {
  const door = new Door({ owner: "memory", mailbox: 4, mailboxPerCaller: 2 });
  const visit = (caller: string): Visitor => door.meet(message({ ttl: "1000" }), caller, "get");
  for (const caller of ["alice", "alice", "bob"]) {
    assert.is(door.full(visit(caller)), undefined);
    door.began(running(caller));
  }
  assert.type(door.full(visit("alice")), "number");
  assert.is(door.full(visit("bob")), undefined, "another's greed is not bob's loss");
  door.began(running("bob"));
  assert.type(door.full(visit("carol")), "number");
  door.ended(running("alice"), true);
  assert.is(door.full(visit("carol")), undefined);
});

test("the more are turned away for one that is let in, the longer they are told to wait, up to a bound", () => {
  const door = new Door({ owner: "memory", mailbox: 1 });
  const visitor = door.meet(message({ ttl: "1000" }), "alice", "get");
  assert.is(door.full(visitor), undefined);
  door.began(running("alice"));
  const waits = Array.from({ length: 100 }, () => door.full(visitor)!);
  assert.is(waits[0], 100);
  assert.is(waits[9], 1_000);
  assert.is(waits[99], 5_000);
  const other = door.meet(message({ ttl: "1000" }), "carol", "get");
  assert.is(door.full(other), 100, "each by what it asks itself: a flood makes nobody else wait");
});

test("while what arrives waits long to be read, a crowded door turns its crowd away, though its loop turns", async () => {
  let surface: () => void = () => {};
  const door = new Door({ owner: "memory" }, () => new Promise<void>((resolve) => (surface = resolve)));
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const alice = door.meet(message({ ttl: "60000" }), "alice", "get");
  const bob = door.meet(message({ ttl: "60000" }), "bob", "get");
  const model = door.meet(message({ ttl: "60000" }), "model-1", "get");
  door.open();
  for (let n = 0; n < 32; n++) door.began(running("bob", 60_000));
  await sleep(200);
  assert.type(door.full(bob), "number");
  for (let n = 0; n < 16; n++) {
    assert.is(door.full(alice), undefined, "who has less than an equal share has not made the crowd");
    door.began(running("alice", 60_000));
  }
  assert.type(door.full(alice), "number", "and so many are a crowd, too");
  assert.is(door.full(model), undefined, "services finish what they have begun");
  door.close();
  surface();
  await sleep(0);
  assert.type(door.full(bob), "number", "the last sounding counts until the next");
  for (let n = 0; n < 17; n++) door.ended(running("bob", 60_000), true);
  assert.is(door.full(bob), undefined, "few run");
});

test("only who is of the house acts for others", () => {
  const door = new Door({ owner: "memory", authorize: (caller) => ({ principal: caller, grant: "g1" }) });
  const alice = door.meet(message({}), "alice", "get");
  const model = door.meet(message({}), "model-1", "get");
  const header = JSON.stringify({ principal: "alice" });
  assert.equal(door.principal(header, model, {}), { principal: "alice" });
  assert.is(
    code(() => door.principal(header, alice, {})),
    "EPERM",
  );
  assert.is(
    code(() => door.principal("{", model, {})),
    "EINVAL",
  );
  assert.equal(door.principal("", alice, {}), { principal: "alice", grant: "g1" });
});

test.run();
