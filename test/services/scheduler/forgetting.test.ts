// What devices are told to forget, over a device that is a function.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { Forgetting } from "../../../services/scheduler/forgetting.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Each word waits until the test answers it. */
function device() {
  const words: { seq: string; answer: () => void; fail: (error: Error) => void }[] = [];
  const anew = new Set<string>();
  const forgetting = new Forgetting({
    drop: (_device, _model, seq) =>
      new Promise<void>((answer, fail) => {
        words.push({ seq, answer, fail });
      }),
    runsOn: (_device, seq) => anew.has(seq),
    crash: (error) => assert.unreachable(String(error)),
  });
  const forget = (seq: string) => forgetting.forget("device-1", "m", seq);
  return { words, anew, forget };
}

test("a sequence that is lost again and again is told of by one word at a time, and once more after the last loss", async () => {
  const { words, forget } = device();
  const first = forget("a");
  for (let i = 0; i < 100; i++) void forget("a");
  const other = forget("b");
  assert.equal(
    words.map(({ seq }) => seq),
    ["a", "b"],
    "what is lost first is told at once",
  );
  words[0]!.answer();
  await turn();
  assert.equal(
    words.map(({ seq }) => seq),
    ["a", "b", "a"],
    "the last loss may have been behind the first word",
  );
  for (const { answer } of words) answer();
  await Promise.all([first, other]);
  assert.is(words.length, 3);
});

test("a word that is lost is told again, unless the sequence is there anew; one that is refused is not", async () => {
  const { words, anew, forget } = device();
  const lost = new SomaError("EIO", "the broker went away during the request", { executed: "maybe" });
  const told = forget("a");
  words[0]!.fail(lost);
  while (words.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  anew.add("a");
  words[1]!.fail(lost);
  await told;
  assert.is(words.length, 2);
  const gone = forget("b");
  words[2]!.fail(new SomaError("ESERVICEDOWN", "device-1 went down during the request"));
  await gone;
  assert.is(words.length, 3);
});

test.run();
