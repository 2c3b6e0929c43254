// Owns the check of a run's history of starts and ends: intensity, order of the first start and of the stop.
import { LIMITS } from "../../kernel/abi/limits.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import type { Life, World } from "./world.ts";

/** `stopping`: when the ordered stop began. */
export function checkSupervision(world: World, stopping: number): void {
  const { lives } = world;
  const order = SERVICES.map((service) => `${service}-1`);
  for (const id of order) {
    checkBackoff(world, id);
    // A kernel that is new knows nothing of restarts under the former one.
    for (const kernel of new Set(lives.map((life) => life.kernel))) {
      const starts = lives.filter((life) => life.id === id && life.what === "start" && life.kernel === kernel);
      for (const { at } of starts) {
        const within = starts.filter((other) => other.at <= at && at - other.at < LIMITS.period).length;
        const asked = world.requests(id, at - LIMITS.period, at);
        world.check(
          "no more restarts than the intensity allows",
          within <= LIMITS.intensity + 2 + asked * (LIMITS.intensity + 1),
          () => `${id} was started ${within} times within ${LIMITS.period} ms`,
        );
      }
    }
  }
  // Who asks for a restart while it boots is served before its turn.
  const started = order.filter((id) => world.requests(id, 0, Number.POSITIVE_INFINITY) === 0);
  const firsts = started.map((id) => lives.find((life) => life.id === id && life.what === "start")?.at ?? Number.NaN);
  world.check(
    "children start in order",
    firsts.every((at, i) => i === 0 || at > firsts[i - 1]!),
    () => firsts.join(", "),
  );
  // One may have been gone already.
  const ends = order.flatMap((id) => lives.filter((life) => life.id === id && life.what === "end").at(-1) ?? []);
  const stops = ends.filter(({ at }) => at >= stopping);
  world.check(
    "children stop in reverse order",
    stops.every(({ at }, i) => i === 0 || at <= stops[i - 1]!.at),
    () => ends.map(({ id, at }) => `${id} ${at}`).join(", "),
  );
}

/** At once after the first crash of a period, then later and later; after too many, when the probe is due. */
function checkBackoff(world: World, id: string): void {
  let restarts: Life[] = [];
  let ended: Life | undefined;
  for (const life of world.lives) {
    if (life.id !== id) continue;
    if (life.what === "end") ended = life;
    if (life.what !== "start" || ended === undefined) continue;
    const { at, kernel } = ended;
    ended = undefined;
    // Another kernel knows nothing of it, and who was asked to restart forgives.
    if (kernel !== life.kernel || world.requests(id, at - LIMITS.period, life.at) > 0) {
      restarts = [];
      continue;
    }
    restarts = restarts.filter((before) => before.kernel === kernel && at - before.at < LIMITS.period - 1_000);
    const [count, waited] = [restarts.length, life.at - at];
    const least =
      count === 0 ? 0 : count >= LIMITS.intensity ? LIMITS.probe : 0.75 * LIMITS.backoffFirst * 2 ** (count - 1);
    world.check(
      "restarts wait longer each time",
      waited >= Math.min(least, LIMITS.backoffMax),
      () => `${id} came back after ${waited.toFixed(0)} ms, ${count} restarts before`,
    );
    restarts.push(life);
  }
}
