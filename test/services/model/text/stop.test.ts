// Owns the tests of stop strings.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { StopStrings } from "../../../../services/model/text/stop.ts";

/** The rule read from the whole text: the first place where a stop string ends, the longest one that ends there. */
function naive(text: string, stops: readonly string[]): { text: string; stop?: string } {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (ending !== undefined) return { text: text.slice(0, end - ending.length), stop: ending };
  }
  return { text };
}

function streamed(pieces: readonly string[], stops: readonly string[]): { text: string; stop?: string } {
  const matcher = new StopStrings(stops);
  let text = "";
  for (const piece of pieces) {
    const out = matcher.push(piece);
    text += out.text;
    if (out.stop !== undefined) return { text, stop: out.stop };
  }
  return { text: text + matcher.flush() };
}

// Two letters only, so that stop strings overlap, repeat and hide in one another.
const word = (minLength: number, maxLength: number) =>
  fc.array(fc.constantFrom("a", "b", "好"), { minLength, maxLength }).map((letters) => letters.join(""));

test("for any cutting, the result is that of looking at the whole text", () => {
  const stops = fc.array(word(1, 5), { maxLength: 4 });
  fc.assert(
    fc.property(fc.array(word(0, 4), { maxLength: 12 }), stops, (pieces, list) => {
      assert.equal(streamed(pieces, list), naive(pieces.join(""), list));
    }),
    { numRuns: 5000 },
  );
});

test("nothing that belongs to a stop string is ever shown, and nothing else is kept longer than it must be", () => {
  const matcher = new StopStrings(["\n\nUser:", "END"]);
  assert.equal(matcher.push("hello\n"), { text: "hello" });
  assert.equal(matcher.push("world\n\nUs"), { text: "\nworld" });
  assert.equal(matcher.push("e EN"), { text: "\n\nUse " });
  assert.equal(matcher.push("D and more"), { text: "", stop: "END" });
});

test("what was held back is text when the end comes without a stop", () => {
  const matcher = new StopStrings(["END"]);
  assert.equal(matcher.push("the EN"), { text: "the " });
  assert.is(matcher.flush(), "EN");
  assert.is(matcher.flush(), "");
});

test("without stop strings everything passes at once", () => {
  assert.equal(new StopStrings([]).push("abc"), { text: "abc" });
});

test("an empty stop string is refused", () => {
  assert.throws(
    () => new StopStrings(["a", ""]),
    (e: unknown) => isSomaError(e, "EINVAL"),
  );
});

test.run();
