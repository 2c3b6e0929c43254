// Owns THE table of metrics: every name that `soma metrics` shows, what it means, its labels and buckets. Prometheus units: seconds, bytes, tokens.

interface Metric {
  type: "counter" | "gauge" | "histogram";
  help: string;
  /** Besides `service` and `instance`, which each has. */
  labels: readonly string[];
  /** Upper bounds of a histogram. */
  buckets?: readonly number[];
}

/** Half a millisecond to a minute, each about 2.5 times the one before. */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

export const METRICS = {
  // Of every service, and the kernel.
  soma_syscalls_total: {
    type: "counter",
    help: "calls by outcome: OK or an error code; also those that were turned away at the door",
    labels: ["call", "outcome", "caller"],
  },
  soma_syscall_seconds: {
    type: "histogram",
    help: "from the arrival of a call to its reply",
    labels: ["call"],
    buckets: SECONDS,
  },
  soma_inflight_calls: { type: "gauge", help: "calls that have no reply yet", labels: [] },
  soma_resident_bytes: { type: "gauge", help: "resident memory of the process", labels: [] },
  soma_cpu_seconds_total: { type: "counter", help: "CPU time of the process, user and system", labels: [] },
  soma_uptime_seconds: { type: "gauge", help: "since the process serves", labels: [] },
  soma_epoch: { type: "gauge", help: "how often an instance of this name was started, ever", labels: [] },
  soma_spans_lost_total: { type: "counter", help: "spans of traces that found no room", labels: [] },
  soma_audit_waiting: { type: "gauge", help: "records of the audit that are not stored yet", labels: [] },
  // Of the kernel, about processes.
  soma_restarts_total: { type: "counter", help: "restarts since the kernel runs", labels: ["process"] },
  soma_process_ready: { type: "gauge", help: "1 while the process is ready, else 0", labels: ["process"] },
  soma_lease_age_seconds: { type: "gauge", help: "since its last heartbeat was heard", labels: ["process"] },
  soma_lease_lag_seconds: {
    type: "gauge",
    help: "longest delay of its event loop between its last two heartbeats",
    labels: ["process"],
  },
  // Of auth.
  soma_budget_limit: {
    type: "gauge",
    help: "what a grant may use in its window; budget: tokens, or deviceMs",
    labels: ["holder", "budget"],
  },
  soma_budget_used: {
    type: "gauge",
    help: "what a grant has used in its window, or leased to schedulers",
    labels: ["holder", "budget"],
  },
  // Of memory.
  soma_memory_bytes: {
    type: "gauge",
    help: "memory of a device by use: weights, kv, free",
    labels: ["device", "use"],
  },
  // Of the scheduler.
  soma_sequences: { type: "gauge", help: "sequences by state: waiting, running", labels: ["state"] },
  soma_queue_wait_seconds: {
    type: "histogram",
    help: "from the arrival of a sequence to its first quantum",
    labels: ["model"],
    buckets: SECONDS,
  },
  soma_quantum_sequences: {
    type: "histogram",
    help: "batch size: sequences that ran together in a quantum",
    labels: ["device"],
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
  },
  soma_quantum_seconds: {
    type: "histogram",
    help: "time that a device computed for a quantum",
    labels: ["device"],
    buckets: SECONDS,
  },
  soma_computed_tokens_total: {
    type: "counter",
    help: "tokens that devices computed for an app or person, prompts included",
    labels: ["principal"],
  },
  soma_quanta_lost_total: { type: "counter", help: "quanta that did not come back from a device", labels: ["device"] },
  soma_preemptions_total: { type: "counter", help: "sequences put aside to make room for others", labels: ["device"] },
  // Of model.
  soma_first_token_seconds: {
    type: "histogram",
    help: "time to first token: from the plan of a text to its first token",
    labels: ["model"],
    buckets: SECONDS,
  },
  soma_token_seconds: {
    type: "histogram",
    help: "time per token after the first, mean of each text",
    labels: ["model"],
    buckets: SECONDS,
  },
  soma_new_tokens_total: { type: "counter", help: "tokens that were generated", labels: ["model"] },
  soma_jobs: { type: "gauge", help: "training jobs by state", labels: ["state"] },
  // Of device.
  soma_weight_bytes: { type: "gauge", help: "weights of a resident model", labels: ["model"] },
  soma_kv_bytes: { type: "gauge", help: "KV memory of a resident model", labels: ["model"] },
  soma_kv_blocks: {
    type: "gauge",
    help: "KV blocks of a resident model by state: used, free",
    labels: ["model", "state"],
  },
  soma_trainings: { type: "gauge", help: "training runs at work", labels: [] },
  // Of who gathers.
  soma_up: { type: "gauge", help: "1 if the actor answered when it was asked for its metrics, else 0", labels: [] },
} as const satisfies Record<string, Metric>;

type Table = typeof METRICS;
export type MetricName = keyof Table;
type OfType<T extends Metric["type"]> = { [N in MetricName]: Table[N]["type"] extends T ? N : never }[MetricName];
export type CounterName = OfType<"counter">;
export type GaugeName = OfType<"gauge">;
export type HistogramName = OfType<"histogram">;
export type LabelsOf<N extends MetricName> = Record<Table[N]["labels"][number], string>;
