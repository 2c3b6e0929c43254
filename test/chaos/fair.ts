// Owns fairness under a flood: of some apps that all want more than there is, one asks ten times as much as can be served. The others keep
// their share.

import { asker, ordered } from "./crowd.ts";
import { type Figures, load, quantile } from "./figures.ts";
import { CALM_MS, speed, TIMES, TURNS, WARM_MS } from "./overload.ts";
import type { Rig } from "./rig.ts";
import { TOKENS } from "./tally.ts";

const OTHERS = 4;
/** Requests that each of the others has under way: enough to want more than its share all the time. */
const LANES = 32;
/** %, of what everybody would get if all got the same. A shared machine must not decide: the goal is 90. */
const GOAL = 90;
const LEAST = 30;

export async function fairShare(rig: Rig, figures: Figures, ms: number): Promise<void> {
  const names = Array.from({ length: OTHERS }, (_, number) => `other-${number}`);
  const [others, greedy] = [await asker(rig, names), await asker(rig, ["greedy"])];
  const most = speed([await ordered(others, { ms: CALM_MS, warm: WARM_MS, lanes: LANES, rate: 0, dry: true })]);
  const rate = (TIMES * most) / TOKENS;
  const calm = names.map(() => 0);
  const got = names.map(() => 0);
  let [seconds, calmSeconds, its, asked] = [0, 0, 0, 0];
  const waits: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const both = (spell: number, dry: boolean) => {
      const order = { ms: spell, warm: WARM_MS };
      const flood = ordered(greedy, { ...order, lanes: 0, rate, dry });
      return Promise.all([ordered(others, { ...order, lanes: LANES, rate: 0, dry }), flood]);
    };
    const [before] = await both(CALM_MS, true);
    for (const [app, tokens] of before.each.entries()) calm[app]! += tokens;
    calmSeconds += before.seconds;
    const [seen, flood] = await both(WARM_MS + ms / TURNS, false);
    for (const [app, tokens] of seen.each.entries()) got[app]! += tokens;
    seconds += seen.seconds;
    its += flood.tokens;
    asked += flood.asked;
    waits.push(...seen.rejected);
  }
  for (const child of [others, greedy]) child.disconnect();
  const part = `one of ${OTHERS + 1} floods ${TIMES}x`;
  const all = got.reduce((sum, tokens) => sum + tokens, its);
  const equal = all / (OTHERS + 1);
  const percent = (tokens: number) => (100 * tokens) / equal;
  const offered = (asked / (TURNS * (WARM_MS + ms / TURNS))) * 1_000;
  figures.add(
    part,
    "offered by it",
    offered,
    "/s",
    undefined,
    `${TIMES} times what all can get; load average ${load()}`,
  );
  const each = got.map((tokens) => `${Math.round(tokens / seconds)}`).join(", ");
  const without = calm.map((tokens) => `${Math.round(tokens / calmSeconds)}`).join(", ");
  const note = `tokens/s: ${each}; while it floods nobody: ${without}; goal ${GOAL} %`;
  figures.add(part, "least of the others, of an equal share", percent(Math.min(...got)), "%", { least: LEAST }, note);
  figures.add(part, "median of the others, of an equal share", percent(quantile(got, 0.5)), "%");
  figures.add(
    part,
    "what it gets itself, of an equal share",
    percent(its),
    "%",
    undefined,
    `${Math.round(its / seconds)} tokens/s`,
  );
  figures.add(part, "others' requests that were turned away", waits.length, "");
}
