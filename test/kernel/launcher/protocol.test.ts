import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Order, parseOrder } from "../../../kernel/launcher/protocol.ts";

test("every order is read as it was sent", () => {
  const orders: Order[] = [
    { type: "start", id: "a", entry: "x.ts", args: ["1"], env: { A: "b" }, memoryMb: 5, stdin: "s" },
    { type: "kill", id: "a", signal: "SIGTERM" },
    { type: "list" },
    { type: "stop", code: 3 },
  ];
  for (const order of orders) assert.equal(parseOrder(order), order);
});

test("what is no order is refused with the reason", () => {
  for (const [message, reason] of [
    [null, /not an object/],
    ["list", /not an object/],
    [{ type: "toString" }, /no order is called toString/],
    [{}, /no order is called undefined/],
    [{ type: "start", id: "a" }, /entry must be a string/],
    [{ type: "kill", id: 1, signal: "SIGTERM" }, /id must be a string/],
    [{ type: "stop" }, /code must be a number/],
  ] as const) {
    assert.match((parseOrder(message) as { refused: string }).refused, reason);
  }
});

test.run();
