// Work for a caller that has its outcome already, over a bus that is an object: whoever still does it is told to stop.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../../kernel/abi/codec.ts";
import { HEADERS } from "../../../kernel/abi/headers.ts";
import type { Bus, BusEvent, Message } from "../../../kernel/ipc/bus.ts";
import { Client } from "../../../kernel/ipc/client.ts";

class Wire implements Bus {
  readonly name = "ann";
  connected = true;
  readonly sent: { subject: string; body: unknown; reply: string }[] = [];
  private receive: (message: Message) => void = () => {};
  private tell: (event: BusEvent) => void = () => {};

  publish(subject: string, data: Uint8Array, _headers?: object, reply = ""): void {
    this.sent.push({ subject, body: decode(data), reply });
  }
  subscribe(subject: string, callback: (message: Message) => void) {
    if (subject.startsWith("_INBOX.")) this.receive = callback;
    return { drain: async () => {}, unsubscribe: () => {} };
  }
  on(listener: (event: BusEvent) => void) {
    this.tell = listener;
    return () => {};
  }
  async flush() {}
  async close() {}

  away(): void {
    this.connected = false;
    this.tell({ type: "lost" });
  }
  back(): void {
    this.connected = true;
    this.tell({ type: "back" });
  }
  /** What a service says of long requests every now and then, too. */
  accepted(subject: string, instance: string): void {
    const header = (name: string) => (name === HEADERS.type ? "accepted" : "");
    this.receive({ subject, reply: "", data: encode({ instance, epoch: 1 }), status: 0, header });
  }
}

test("a stream that was cut off by the broker's absence is stopped at whoever says that it still makes it", async () => {
  for (const instance of ["model-2", "kernel"]) {
    const wire = new Wire();
    const stream = new Client(wire).stream("model.generate", { model: "m", prompt: "a" });
    const inbox = wire.sent[0]!.reply;
    wire.accepted(inbox, instance);
    wire.accepted(inbox, instance);
    assert.is(wire.sent.length, 1, "as long as somebody waits for it, it is made");
    wire.away();
    assert.is((await stream.result.catch((error) => error)).code, "EIO");
    wire.accepted(inbox, instance);
    assert.is(wire.sent.length, 1, "nothing is said into the void");
    wire.back();
    wire.accepted(inbox, instance);
    const service = instance === "kernel" ? "kernel" : "model";
    const told = wire.sent.slice(1).map(({ subject, body }) => [subject, body]);
    assert.equal(told, [[`sys.ann.${service}.${instance}.cancel`, { id: stream.id }]]);
  }
});

test("one that is no service is told nothing", () => {
  const wire = new Wire();
  const inbox = new Client(wire).inboxOf("1");
  wire.accepted(inbox, "bob");
  assert.equal(wire.sent, []);
});

test.run();
