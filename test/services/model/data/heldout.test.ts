import { test } from "uvu";
import * as assert from "uvu/assert";
import { HeldOut } from "../../../../services/model/data/heldout.ts";

const of = (source: string, target: string) => ({ task: "complete", source, target, origin: "user" });

test("the same question is held out however it is written, another one is not", () => {
  const held = new HeldOut();
  held.add(of("Good  Morning", "早上好"));
  assert.is(held.has(of("good morning", "你好")), true);
  assert.is(held.has(of("Good evening", "早上好")), false);
});

test("a long quotation out of a test is held out, wherever it stands", () => {
  const held = new HeldOut();
  const test = "the cat that lives next door came over the wall this morning and ate all of our fish";
  held.add(of("", test));
  const words = test.split(" ");
  assert.is(held.has(of("", `As I said, ${words.slice(2, 15).join(" ")} — and so on`)), true);
  assert.is(held.has(of("", `As I said, ${words.slice(2, 14).join(" ")} — and so on`)), false, "twelve words");
});

test.run();
