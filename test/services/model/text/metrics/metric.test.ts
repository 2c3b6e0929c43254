// Owns the tests of exact match, perplexity and the bootstrap interval.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../../kernel/abi/errors.ts";
import { exactMatch } from "../../../../../services/model/text/metrics/exact.ts";
import { bootstrap, corpusScore, segmentCounts } from "../../../../../services/model/text/metrics/metric.ts";
import { logProbCounts, perplexity } from "../../../../../services/model/text/metrics/perplexity.ts";

test("exact match is the share of equal outputs; spaces at the ends do not count, case does", () => {
  assert.is(corpusScore(exactMatch, ["你好 ", "a", "A", "b"], ["你好", "a", "a", "c"]), 0.5);
});

test("outputs and references that do not pair up are refused", () => {
  const refused = (e: unknown) => isSomaError(e, "EINVAL");
  assert.throws(() => corpusScore(exactMatch, ["a"], []), refused);
  assert.throws(() => corpusScore(exactMatch, [], []), refused);
});

test("perplexity of even odds is the number of choices, each token counting once", () => {
  const segments = [logProbCounts([Math.log(1 / 8)]), logProbCounts([Math.log(1 / 8), Math.log(1 / 8)])];
  assert.ok(Math.abs(perplexity([segments[0]![0] + segments[1]![0], 3]) - 8) < 1e-12);
  const uneven = logProbCounts([Math.log(1 / 2), Math.log(1 / 8)]);
  assert.ok(Math.abs(perplexity(uneven) - 4) < 1e-12);
});

test("the bootstrap interval depends on the seed alone", () => {
  const segments = Array.from({ length: 50 }, (_, i) => logProbCounts([Math.log(1 / (2 + i)), -i]));
  const interval = (seed: number) => bootstrap(perplexity, segments, { seed, samples: 100 });
  assert.equal(interval(3), interval(3));
  assert.not.equal(interval(3), interval(4));
});

test("the interval of a share is near its binomial one and holds the score", () => {
  const outputs = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? "x" : "a"));
  const counts = segmentCounts(
    exactMatch,
    outputs,
    outputs.map(() => "a"),
  );
  const { low, high } = bootstrap(exactMatch.score, counts, { seed: 1, samples: 2000 });
  const half = 1.96 * Math.sqrt((0.75 * 0.25) / 400);
  assert.ok(Math.abs(low - (0.75 - half)) < 0.005, `${low}`);
  assert.ok(Math.abs(high - (0.75 + half)) < 0.005, `${high}`);
});

test("a corpus without variation has no width", () => {
  assert.equal(
    bootstrap(
      exactMatch.score,
      [
        [1, 1],
        [1, 1],
      ],
      { seed: 1 },
    ),
    { low: 1, high: 1 },
  );
});

test.run();
