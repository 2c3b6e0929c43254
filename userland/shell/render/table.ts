// Owns tables: aligned columns, 80 columns wide at most, Chinese counted as two.
import Table from "cli-table3";
import pc from "picocolors";

export type Cell = string | number | undefined;
const WIDTH = 80;

/** A table without lines. Columns whose name starts with ">" are right-aligned. */
export function table(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  width = process.stdout.columns || WIDTH,
): string {
  const names = head.map((name) => name.replace(/^>/, ""));
  const grid = new Table({
    head: names.map((name) => pc.bold(name)),
    colAligns: head.map((name) => (name.startsWith(">") ? "right" : "left")),
    chars: Object.fromEntries(
      [
        "top",
        "top-mid",
        "top-left",
        "top-right",
        "bottom",
        "bottom-mid",
        "bottom-left",
        "bottom-right",
        "left",
        "left-mid",
        "mid",
        "mid-mid",
        "right",
        "right-mid",
        "middle",
      ].map((name) => [name, name === "middle" ? "  " : ""]),
    ),
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
    colWidths: fit(names, rows, Math.min(width, 120)),
  });
  // A row that ends early is filled up: the library would put an empty line below it.
  for (const row of rows) grid.push(head.map((_, i) => String(row[i] ?? "")));
  return grid
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Narrows the widest column until all fit; undefined widths are the natural ones. */
function fit(names: readonly string[], rows: readonly (readonly Cell[])[], width: number): (number | null)[] {
  const natural = names.map((name, i) => Math.max(columns(name), ...rows.map((row) => columns(String(row[i] ?? "")))));
  const gaps = 2 * (names.length - 1);
  const widths = [...natural];
  while (widths.reduce((sum, w) => sum + w, gaps) > width) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest]! <= 6) break;
    widths[widest]! -= 1;
  }
  return widths.map((w, i) => (w < natural[i]! ? w : null));
}

/** Terminal columns of a text. */
export function columns(text: string): number {
  let width = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    const wide =
      (code >= 0x1100 && code <= 0x115f) ||
      (code >= 0x2e80 && code <= 0xa4cf) ||
      (code >= 0xac00 && code <= 0xd7a3) ||
      (code >= 0xf900 && code <= 0xfaff) ||
      (code >= 0xfe30 && code <= 0xfe6f) ||
      (code >= 0xff00 && code <= 0xff60) ||
      (code >= 0xffe0 && code <= 0xffe6) ||
      (code >= 0x1f300 && code <= 0x1faff) ||
      (code >= 0x20000 && code <= 0x3fffd);
    width += wide ? 2 : 1;
  }
  return width;
}
