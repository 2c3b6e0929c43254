// Owns what the benchmarks share: figures taken in turns, and their table in 80 columns.
import os from "node:os";

/** One figure, say tokens per second. */
export type Measure = () => Promise<number> | number;

/** Name -> its figure of each round. */
export type Figures = Map<string, number[]>;

export interface Row {
  name: string;
  /** Key in the figures. */
  key: string;
  /** Who it is compared with: what the table calls it, its key, and the ratio to reach. */
  against?: [string, string, number?][];
  /** What one figure is worth in the peer's unit, e.g. bytes per token. */
  scale?: number;
}

export function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
}

/** All measures one after another, `rounds` times and once before that uncounted: compilers, page tables and clocks warm up. */
export async function inTurns(measures: [string, Measure][], rounds: number): Promise<Figures> {
  const figures: Figures = new Map(measures.map(([key]) => [key, []]));
  for (let round = 0; round <= rounds; round++)
    for (const [key, measure] of measures) {
      const figure = await measure();
      if (round > 0) figures.get(key)!.push(figure);
    }
  return figures;
}

/**
 * Lines of a table. A ratio is the median over the rounds' ratios: what disturbs the machine in one round mostly disturbs
 * both sides. Rows and peers that were not measured are left out.
 */
export function table(title: string, rows: Row[], figures: Figures): string {
  const line = (name: string, middle: string, range: string, ratio: string, goal: string) =>
    `${name.padEnd(30)}${middle.padStart(8)}${range.padStart(13)}  ${ratio.padEnd(16)}${goal}`.trimEnd();
  const lines = [line(title, "median", "least-most", "ratio", "goal"), "-".repeat(80)];
  for (const { name, key, against = [], scale = 1 } of rows) {
    const own = figures.get(key);
    if (own === undefined) continue;
    const ratios = against.flatMap(([what, peer, goal]): [string, string][] => {
      const other = figures.get(peer);
      if (other === undefined) return [];
      const ratio = median(own.map((figure, round) => (figure * scale) / other[round]!));
      const verdict = goal === undefined ? "" : `${goal}${ratio >= goal ? " met" : " missed"}`;
      return [[`${ratio.toFixed(2)} ${what}`, verdict]];
    });
    const [first = ["", ""], ...rest] = ratios;
    const range = `${short(Math.min(...own))}-${short(Math.max(...own))}`;
    lines.push(line(name, short(median(own)), range, ...first), ...rest.map((more) => line("", "", "", ...more)));
  }
  return lines.join("\n");
}

const short = (value: number) => value.toFixed(value < 100 ? 1 : 0);

/** For below a table: how busy the machine was. */
export const load = () => `load ${os.loadavg()[0]!.toFixed(1)} on ${os.availableParallelism()} cores`;
