// Owns how a record of any depth reads: a line for each value, 80 columns wide at most where its values can be broken. Pure.
import { columns } from "./table.ts";
import { wrap } from "./wrap.ts";

const WIDTH = 80;

/** `a.b value` for each value that is set; a value that finds no room beside its name stands below it. */
export function fields(record: object): string {
  const rows = leaves("", record);
  const name = Math.max(0, ...rows.map(([name]) => columns(name)));
  return rows
    .flatMap(([key, value]) => {
      const line = `${key}${" ".repeat(name - columns(key))}  ${value}`;
      return columns(line) <= WIDTH ? [line] : [key, ...wrap(value, WIDTH - 2).map((part) => `  ${part}`)];
    })
    .join("\n");
}

function leaves(name: string, value: unknown): [name: string, value: string][] {
  if (value === undefined || value === null) return [];
  if (typeof value !== "object") return [[name, typeof value === "number" ? number(value) : String(value)]];
  const plain = Array.isArray(value) && value.every((one) => typeof one !== "object");
  if (plain) return [[name, value.join(", ")]];
  return Object.entries(value).flatMap(([key, one]) => leaves(name === "" ? key : `${name}.${key}`, one));
}

/** Small ones with four digits; counts and times as they are. */
const number = (n: number) => (Number.isInteger(n) ? String(n) : Math.abs(n) < 1 ? n.toPrecision(4) : n.toFixed(4));
