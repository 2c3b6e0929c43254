// Owns the answers to `stat`, `metrics`, `inspect` and `watch`, which every actor gives alike: services and the kernel.
import { SomaError } from "../abi/errors.ts";
import { roleOf } from "../abi/names.ts";
import type { Metrics } from "./metrics.ts";
import type { Recorder } from "./recorder.ts";
import type { Request } from "./request.ts";
import type { Server } from "./server.ts";

export interface Self {
  instance: string;
  epoch: number;
  server: () => Server;
  recorder: Recorder;
  state: () => unknown;
  figures: () => Record<string, unknown>;
  metrics: Metrics;
}

export function commonHandlers({ instance, epoch, server, recorder, state, figures, metrics }: Self) {
  const startedAt = performance.now();
  return {
    stat: () => ({
      instance,
      epoch,
      state: state(),
      now: Date.now(),
      uptimeMs: performance.now() - startedAt,
      inflight: server().inflight,
      figures: { served: server().served, rssBytes: process.memoryUsage.rss(), ...figures() },
    }),
    metrics: async () => ({ metrics: await metrics.show() }),
    inspect: ({ actor }: { actor?: string }, { caller }: Pick<Request, "caller">) => {
      // What a context holds is hidden by names, which is enough for persons: an app gets the statechart without it.
      const hidden = roleOf(caller) === "app" ? { context: "<hidden>" } : {};
      const actors = recorder.show(actor).map((one) => ({ ...one, ...hidden }));
      if (actors.length === 0 && actor !== undefined)
        throw new SomaError("ENOENT", `${instance} has no actor "${actor}"`);
      return { actors };
    },
    watch: () => ({ untilMs: recorder.watch() }),
  };
}
