// Owns the figures of a chaos run: what was measured, against which goal, and the table of all of it.
import { availableParallelism, loadavg } from "node:os";

export interface Figure {
  part: string;
  what: string;
  /** ms, a count or a share, by `unit`. */
  value: number;
  unit: "ms" | "" | "%" | "MB" | "/s";
  /** What the system promises: at most, or at least, this. Without one the figure is only told. */
  goal?: { most: number } | { least: number };
  note?: string;
}

/**
 * A shared and noisy machine must not decide: a time may be ten times its goal, and more where more runs than there are
 * cores for. All else must hold as it is.
 */
const slack = () => 10 * Math.max(1, loadavg()[0]! / availableParallelism());

export class Figures {
  readonly all: Figure[] = [];

  add(part: string, what: string, value: number, unit: Figure["unit"], goal?: Figure["goal"], note?: string): void {
    this.all.push({ part, what, value, unit, ...(goal ? { goal } : {}), ...(note ? { note } : {}) });
  }

  /** p50 and p99 of times in ms, the goal being that of p99. */
  times(part: string, what: string, ms: readonly number[], most?: number): void {
    if (ms.length === 0) return;
    this.add(part, `${what}, p50 of ${ms.length}`, quantile(ms, 0.5), "ms");
    this.add(part, `${what}, p99`, quantile(ms, 0.99), "ms", most === undefined ? undefined : { most });
  }

  /** What broke a promise: an exact count or share, or a time beyond ten times its goal. */
  broken(): Figure[] {
    return this.all.filter((figure) => !holds(figure, slack()));
  }

  table(): string {
    const rows = this.all.map((figure) => [
      figure.part,
      figure.what,
      show(figure.value, figure.unit),
      figure.goal === undefined
        ? ""
        : "most" in figure.goal
          ? `<= ${show(figure.goal.most, figure.unit)}`
          : `>= ${show(figure.goal.least, figure.unit)}`,
      figure.goal === undefined ? "" : holds(figure, 1) ? "yes" : holds(figure, slack()) ? "slow" : "NO",
      figure.note ?? "",
    ]);
    const head = ["fault", "figure", "value", "goal", "met", "note"];
    const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
    return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
  }
}

/** The value below which that share of them lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export const load = () => loadavg()[0]!.toFixed(1);

function holds({ value, unit, goal }: Figure, times: number): boolean {
  if (goal === undefined) return true;
  const factor = unit === "ms" ? times : 1;
  return "most" in goal ? value <= goal.most * factor : value >= goal.least;
}

function show(value: number, unit: Figure["unit"]): string {
  const digits = unit === "ms" || Number.isInteger(value) || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)}${unit === "" || unit === "%" ? unit : ` ${unit}`}`;
}
