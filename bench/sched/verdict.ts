// Owns how the scheduler's bench prints: figures beside their goals, and which were missed.

export type Verdict = [what: string, figure: string, goal?: string, met?: boolean];

export function verdicts(title: string, rows: readonly Verdict[]): string {
  const line = ([what, figure, goal = "", met]: Verdict) =>
    `${what.padEnd(46)}${figure.padStart(14)}  ${goal}${met === undefined ? "" : met ? " met" : " MISSED"}`.trimEnd();
  return [line([title, "", "goal"]), "-".repeat(80), ...rows.map(line)].join("\n");
}

export const atLeast = (what: string, value: number, goal: number, digits = 2): Verdict => [
  what,
  value.toFixed(digits),
  `>= ${goal}`,
  value >= goal,
];

export const atMost = (what: string, value: number, goal: number, digits = 2): Verdict => [
  what,
  value.toFixed(digits),
  `<= ${goal}`,
  value <= goal,
];
