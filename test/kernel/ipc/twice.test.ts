import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../../kernel/abi/codec.ts";
import { HEADERS } from "../../../kernel/abi/headers.ts";
import type { Bus, BusEvent, Message } from "../../../kernel/ipc/bus.ts";
import { Request, type Send } from "../../../kernel/ipc/request.ts";
import { Server } from "../../../kernel/ipc/server.ts";
import { Stream } from "../../../kernel/ipc/stream.ts";

/** A bus on which messages arrive when the test says so. */
class Wire implements Bus {
  readonly name = "memory-1";
  readonly connected = true;
  readonly sent: { subject: string; type: string; body: unknown }[] = [];
  private readonly callbacks: ((message: Message) => void)[] = [];

  publish(subject: string, data: Uint8Array, headers: Record<string, string> = {}): void {
    this.sent.push({ subject, type: headers[HEADERS.type] ?? "", body: decode(data) });
  }
  subscribe(_subject: string, callback: (message: Message) => void) {
    this.callbacks.push(callback);
    return { drain: async () => {}, unsubscribe: () => {} };
  }
  on(_listener: (event: BusEvent) => void) {
    return () => {};
  }
  async flush() {}
  async close() {}

  /** Delivers a call to what was subscribed first. */
  deliver(subject: string, id: string, input: unknown): void {
    const headers: Record<string, string> = { [HEADERS.id]: id };
    const header = (name: string) => headers[name] ?? "";
    this.callbacks[0]!({ subject, reply: "_INBOX.person.x.1", data: encode(input), status: 0, header });
  }
}

test("a request that comes a second time after it was answered is not done a second time", async () => {
  const wire = new Wire();
  let done = 0;
  const crash = (error: unknown) => {
    throw error;
  };
  const handlers = { put: () => ({ revision: ++done }) };
  const server = new Server(wire, { owner: "memory", instance: "memory-1", epoch: 1, handlers, crash });
  server.start();
  for (let copy = 0; copy < 2; copy++) wire.deliver("sys.person.memory.any.put", "a1", { key: "k", value: 1 });
  assert.equal([done, wire.sent.length], [1, 1]);
  wire.deliver("sys.person.memory.any.put", "a2", { key: "k", value: 1 });
  assert.is(done, 2, "another request is another one");
  await server.drain(0);
});

/** What a request sends, as headers and bodies. */
function sent(work: (request: Request) => void): [type: string, body: unknown, seq: number | undefined][] {
  const all: [string, unknown, number | undefined][] = [];
  const send: Send = (type, body, seq) => void all.push([type, body, seq]);
  const info = { mid: "p/1", id: "1", key: "1", caller: "p", principal: { principal: "p" }, call: "read" };
  work(new Request({ ...info, deadline: Number.POSITIVE_INFINITY, traceparent: "", reply: "" }, send));
  return all;
}

test("the loss of the last piece of an answer shows at its end", async () => {
  const messages = sent((request) => {
    void request.emit("a");
    void request.emit("b");
    request.finish("end", "all");
  });
  const open = () =>
    new Stream<string, string>({
      id: "1",
      service: "memory",
      subject: "",
      ttl: 0,
      control: async () => {},
      done: () => {},
    });
  const receive = (stream: Stream<string, string>, lost: number) => {
    for (const [i, [type, body, seq]] of messages.entries()) {
      if (i === lost) continue;
      if (type === "chunk") stream.push(body, String(seq));
      else stream.end(body, String(seq ?? ""));
    }
    return stream.result;
  };
  assert.is(await receive(open(), -1), "all");
  for (const lost of [0, 1]) {
    const error = await receive(open(), lost).catch((caught) => caught);
    assert.is(error.code, "EIO", `piece ${lost} was lost, and nobody noticed`);
  }
});

test("who lost a piece of an answer has the other side stop making the rest", async () => {
  const told: string[] = [];
  const stream = new Stream<string, string>({
    id: "1",
    service: "memory",
    subject: "",
    ttl: 0,
    control: async (verb) => void told.push(verb),
    done: () => {},
  });
  stream.push("a", "0");
  assert.equal(told, []);
  stream.push("c", "2");
  stream.push("d", "3");
  assert.is((await stream.result.catch((error) => error)).code, "EIO");
  assert.equal(told, ["cancel"]);
});

test.run();
