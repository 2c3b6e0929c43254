import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Piece } from "../../../services/model/answer.ts";
import { Outbox } from "../../../services/model/outbox.ts";

const piece = (pos: number, text: string): Piece => ({ pos, ids: [pos], text });

test("pieces of one tick are one chunk", async () => {
  const sent: Piece[] = [];
  const outbox = new Outbox(async (one) => void sent.push(one));
  outbox.add({ pos: 0, ids: [], text: "", numerics: "n" });
  outbox.add(piece(0, "a"));
  outbox.add(piece(1, "b"));
  await outbox.drain();
  assert.equal(sent, [{ pos: 0, ids: [0, 1], text: "ab", numerics: "n" }]);
});

test("a reader without room gets the rest as one chunk, in order", async () => {
  const sent: Piece[] = [];
  let makeRoom = () => {};
  const outbox = new Outbox((one) => {
    sent.push(one);
    return new Promise((resolve) => {
      makeRoom = resolve;
    });
  });
  outbox.add(piece(0, "a"));
  await new Promise((resolve) => setImmediate(resolve));
  for (let pos = 1; pos < 50; pos++) outbox.add(piece(pos, String(pos)));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.is(sent.length, 1);
  makeRoom();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.is(sent.length, 2);
  assert.equal([sent[1]?.pos, sent[1]?.ids.length], [1, 49]);
  makeRoom();
  await outbox.drain();
});

test.run();
