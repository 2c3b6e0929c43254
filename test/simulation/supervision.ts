// Owns the check of a run's history of starts and ends: intensity, order of the first start and of the stop.
import { LIMITS } from "../../kernel/abi/limits.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import type { World } from "./world.ts";

/** `stopping`: when the ordered stop began. */
export function checkSupervision(world: World, stopping: number): void {
  const { lives } = world;
  const order = SERVICES.map((service) => `${service}-1`);
  for (const id of order) {
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
  const firsts = order.map((id) => lives.find((life) => life.id === id && life.what === "start")?.at ?? Number.NaN);
  world.check(
    "children start in order",
    firsts.every((at, i) => i === 0 || at > firsts[i - 1]!),
    () => firsts.join(", "),
  );
  const ends = order.map((id) => lives.filter((life) => life.id === id && life.what === "end").at(-1));
  world.check(
    "children stop in reverse order",
    ends.every((end, i) => end === undefined || i === 0 || end.at < stopping || end.at <= (ends[i - 1]?.at ?? 0)),
    () => ends.map((end) => `${end?.id} ${end?.at}`).join(", "),
  );
}
