// Owns gathering: asks every actor for its metrics and merges them into one text in Prometheus' format. The library loads when it is asked for.

import { isSomaError } from "../../kernel/abi/errors.ts";
import { METRICS } from "../../kernel/abi/metrics.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import type { Soma } from "./soma.ts";

type Family = Output<"kernel.metrics">["metrics"][number];

/** An actor that is gone or hangs is waited for so long, ms, and then shown as soma_up 0. */
const PATIENCE = 2_000;

/** One text for all services that run and the kernel. Each value names its `service` and `instance`. */
export async function gatherMetrics(soma: Pick<Soma, "client">): Promise<string> {
  const { processes } = await soma.client.call("kernel.ps", {});
  const actors = processes.map(({ id }) => id).filter((id) => id === "kernel" || serviceOf(id) !== undefined);
  const answers = await Promise.all(actors.map((instance) => ask(soma, instance)));
  const { AggregatorRegistry } = await import("prom-client");
  return await AggregatorRegistry.aggregate([...answers, up(actors, answers)] as never).metrics();
}

async function ask({ client }: Pick<Soma, "client">, instance: string): Promise<Family[]> {
  const service = serviceOf(instance);
  const call = `${service ?? "kernel"}.metrics` as "kernel.metrics";
  try {
    const options = { ttl: PATIENCE, retry: false, ...(service === undefined ? {} : { instance }) };
    return (await client.call(call, {}, options)).metrics;
  } catch (error) {
    if (!isSomaError(error)) throw error;
    return [];
  }
}

function up(actors: readonly string[], answers: readonly Family[][]): Family[] {
  const { type, help } = METRICS.soma_up;
  const values = actors.map((instance, i) => ({
    value: Number(answers[i]!.length > 0),
    labels: { service: serviceOf(instance) ?? instance, instance },
  }));
  return [{ name: "soma_up", type, help, aggregator: "sum", values }];
}
