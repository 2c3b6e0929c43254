// Owns the answers to `stat`, `metrics`, `inspect` and `watch`, which every actor gives alike: services and the kernel.
import { SomaError } from "../abi/errors.ts";
import type { Metrics } from "./metrics.ts";
import type { Recorder } from "./recorder.ts";
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
    inspect: ({ actor }: { actor?: string }) => {
      const actors = recorder.show(actor);
      if (actors.length === 0 && actor !== undefined)
        throw new SomaError("ENOENT", `${instance} has no actor "${actor}"`);
      return { actors };
    },
    watch: () => ({ untilMs: recorder.watch() }),
  };
}
