// Owns the picture of a trace: its spans as bars over time, and what its time went into. Pure.
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { columns } from "./table.ts";

type Span = Output<"kernel.trace">["spans"][number];

/** What a moment of a call is spent on, most telling first: what computes hides what waits above it. */
export const KINDS = ["prefill", "decode", "queueing", "loading", "bus", "services"] as const;
export type Kind = (typeof KINDS)[number];

/** A quantum, and the model's wait for the scheduler, are the bus where nothing below them is at work. */
const KIND: Record<string, Kind> = {
  prefill: "prefill",
  decode: "decode",
  queue: "queueing",
  wait: "queueing",
  load: "loading",
  quantum: "bus",
  run: "bus",
};

export function kindOf({ name }: Pick<Span, "name">): Kind {
  return KIND[name] ?? "services";
}

/** ms of the whole call by what they went into; they add up to its length. */
export function breakdown(spans: readonly Span[]): Record<Kind, number> {
  const parts = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<Kind, number>;
  const root = rootOf(spans);
  if (root === undefined) return parts;
  const end = root.at + root.ms;
  const pieces = spans.map((span) => ({
    kind: kindOf(span),
    from: Math.max(root.at, span.at),
    until: Math.min(end, span.at + span.ms),
  }));
  const edges = [...new Set(pieces.flatMap(({ from, until }) => [from, until]))].sort((a, b) => a - b);
  for (const [i, from] of edges.entries()) {
    const until = edges[i + 1];
    if (until === undefined) break;
    const busy = pieces.filter((piece) => piece.from <= from && piece.until >= until).map(({ kind }) => kind);
    const kind = KINDS.find((candidate) => busy.includes(candidate));
    if (kind !== undefined) parts[kind] += until - from;
  }
  return parts;
}

/** The first call of the trace; where it was not kept, the first whose caller was not. */
export function rootOf(spans: readonly Span[]): Span | undefined {
  const known = new Set(spans.map(({ span }) => span));
  return spans.find(({ parent }) => parent === "") ?? spans.find(({ parent }) => !known.has(parent));
}

/** Spans in the order of a tree: each below its parent, by time. One whose parent was not kept stands at the top. */
export function tree(spans: readonly Span[]): { span: Span; depth: number }[] {
  const known = new Set(spans.map(({ span }) => span));
  const children = new Map<string, Span[]>();
  for (const span of [...spans].sort((a, b) => a.at - b.at)) {
    const parent = known.has(span.parent) ? span.parent : "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const walk = (parent: string, depth: number): { span: Span; depth: number }[] =>
    (children.get(parent) ?? []).flatMap((span) => [{ span, depth }, ...walk(span.span, depth + 1)]);
  return walk("", 0);
}

/** Characters of a bar, and of the names before it. */
const BAR = 30;
const NAME = 24;

/** 80 columns: name, actor, bar, ms. `color` paints a bar by its kind. */
export function waterfall(spans: readonly Span[], color: (kind: Kind, text: string) => string): string {
  const root = rootOf(spans);
  if (root === undefined) return "";
  const start = Math.min(...spans.map(({ at }) => at));
  const length = Math.max(1e-6, Math.max(...spans.map(({ at, ms }) => at + ms)) - start);
  const lines = tree(spans).map(({ span, depth }) => {
    const from = Math.min(BAR - 1, Math.floor((BAR * (span.at - start)) / length));
    const until = Math.min(BAR, Math.max(from + 1, Math.round((BAR * (span.at + span.ms - start)) / length)));
    const bar = " ".repeat(from) + color(kindOf(span), "█".repeat(until - from)) + " ".repeat(BAR - until);
    const ms = span.ms.toFixed(span.ms < 100 ? 1 : 0).padStart(8);
    const failed = span.code === undefined || span.code === "OK" ? "" : ` ${span.code}`;
    return `${fill("  ".repeat(Math.min(depth, 5)) + span.name, NAME)} ${fill(span.actor, 12)} ${bar}${ms}${failed}`;
  });
  return [`${fill("SPAN", NAME)} ${fill("ACTOR", 12)} ${" ".repeat(BAR)}${"ms".padStart(8)}`, ...lines].join("\n");
}

function fill(text: string, width: number): string {
  let cut = text;
  while (columns(cut) > width) cut = cut.slice(0, -1);
  return cut + " ".repeat(width - columns(cut));
}

/** `12.3 ms (40 %) queueing, ...`: the largest first. */
export function summary(spans: readonly Span[]): string {
  const parts = breakdown(spans);
  const total = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  return KINDS.filter((kind) => parts[kind] > 0)
    .sort((a, b) => parts[b] - parts[a])
    .map((kind) => `${kind} ${parts[kind].toFixed(1)} ms (${Math.round((100 * parts[kind]) / total)} %)`)
    .join(", ");
}
