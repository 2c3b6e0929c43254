// Owns the metrics of one process: a registry of its own, filled after the table in kernel/abi/metrics.ts. Some µs a call or quantum, never per token.
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  METRICS,
  type MetricName,
} from "../abi/metrics.ts";
import { type Owner, serviceOf } from "../abi/names.ts";
import { syscall } from "../abi/syscalls.ts";

/** One metric with its values, as `<service>.metrics` gives it. */
export type Family = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>[number];

/**
 * A label has so many values at most: those that came first. All later ones count as "other", so that a counter never falls,
 * as it would if the largest were chosen anew each time.
 */
const VALUES = 64;
const OTHER = "other";

export class Metrics {
  private readonly registry = new Registry();
  private readonly made = new Map<MetricName, Counter | Gauge | Histogram>();
  private readonly values = new Map<string, Set<string>>();

  constructor(instance: string) {
    this.registry.setDefaultLabels({ service: serviceOf(instance) ?? instance, instance });
  }

  count<N extends CounterName>(name: N, labels: LabelsOf<N>, by = 1): void {
    (this.of(name) as Counter).inc(this.bounded(name, labels), by);
  }

  /** In the unit of the table. */
  observe<N extends HistogramName>(name: N, labels: LabelsOf<N>, value: number): void {
    (this.of(name) as Histogram).observe(this.bounded(name, labels), value);
  }

  /** A metric whose values are known elsewhere: they are asked for whenever somebody looks. */
  read<N extends GaugeName | CounterName>(name: N, values: () => Iterable<[LabelsOf<N>, number]>): void {
    const metric = this.of(name, () => {
      metric.reset();
      for (const [labels, value] of values()) metric.inc(this.bounded(name, labels), value);
    }) as Counter | Gauge;
  }

  /** All of it now. */
  show(): Promise<Family[]> {
    return this.registry.getMetricsAsJSON();
  }

  private of(name: MetricName, collect?: () => void): Counter | Gauge | Histogram {
    let metric = this.made.get(name);
    if (metric === undefined) {
      const { type, help, labels, ...rest } = METRICS[name];
      const about = {
        name,
        help,
        labelNames: [...labels],
        registers: [this.registry],
        ...(collect ? { collect } : {}),
      };
      const buckets = "buckets" in rest ? { buckets: [...rest.buckets] } : {};
      if (type === "histogram") metric = new Histogram({ ...about, ...buckets });
      else metric = type === "counter" ? new Counter(about) : new Gauge(about);
      this.made.set(name, metric);
    }
    return metric;
  }

  private bounded(name: MetricName, labels: Record<string, string>): Record<string, string> {
    let given = labels;
    for (const [label, value] of Object.entries(labels)) {
      const key = `${name} ${label}`;
      let known = this.values.get(key);
      if (known === undefined) this.values.set(key, (known = new Set()));
      if (known.has(value)) continue;
      if (known.size < VALUES) known.add(value);
      else given = { ...given, [label]: OTHER };
    }
    return given;
  }
}

/** What every server tells of its calls: hand `called` and `refused` to it. */
export function countCalls(metrics: Metrics, owner: Owner) {
  return {
    called({ call, caller }: { call: string; caller: string }, outcome: string, ms: number): void {
      metrics.count("soma_syscalls_total", { call, outcome, caller });
      metrics.observe("soma_syscall_seconds", { call }, ms / 1000);
    },
    /** Turned away at the door. What is no call has no name of its own: anybody may think up any number. */
    refused(caller: string, call: string, outcome: string): void {
      const known = syscall(owner, call) === undefined ? "unknown" : call;
      metrics.count("soma_syscalls_total", { call: known, outcome, caller });
    },
  };
}

/** What every process tells of itself. */
export function readProcess(
  metrics: Metrics,
  self: { epoch: number; inflight: () => number; spansLost: () => number; auditWaiting: () => number },
): void {
  const startedAt = performance.now();
  metrics.read("soma_inflight_calls", () => [[{}, self.inflight()]]);
  metrics.read("soma_resident_bytes", () => [[{}, process.memoryUsage.rss()]]);
  metrics.read("soma_cpu_seconds_total", () => {
    const { user, system } = process.cpuUsage();
    return [[{}, (user + system) / 1e6]];
  });
  metrics.read("soma_uptime_seconds", () => [[{}, (performance.now() - startedAt) / 1000]]);
  metrics.read("soma_epoch", () => [[{}, self.epoch]]);
  metrics.read("soma_spans_lost_total", () => [[{}, self.spansLost()]]);
  metrics.read("soma_audit_waiting", () => [[{}, self.auditWaiting()]]);
}
