// Owns where the real corpus comes from: makes real.jsonl out of two unpacked npm packages. Dev-time; never runs in the system.
// Usage: node --import tsx services/model/builtin/extract.ts NODE_MODULES
// where NODE_MODULES holds monaco-editor 0.57.0 and cldr-localenames-full 48.2.0.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceKey } from "./split.ts";

type Pair = [english: string, chinese: string];
type Origin = "monaco" | "cldr";

const HAN = /\p{Script=Han}/u;

/** Editor messages: `localize(N, "text")` in the code, the Nth entry of the zh-cn table. */
function monaco(root: string): Pair[] {
  const esm = join(root, "monaco-editor", "esm");
  const table = readFileSync(join(esm, "vs", "nls", "lang", "zh-cn.js"), "utf8").match(/NLS_MESSAGES=(\[.*?\]);\n/s);
  if (!table) throw new Error(`no message table in ${esm}: is this monaco-editor 0.57.0?`);
  const chinese = JSON.parse(table[1]!) as (string | null)[];
  const english = new Map<number, string>();
  for (const file of readdirSync(esm, { recursive: true, encoding: "utf8" }).sort()) {
    if (!file.endsWith(".js")) continue;
    const code = readFileSync(join(esm, file), "utf8");
    for (const [, index, literal] of code.matchAll(/localize2?\((\d+), ?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/g)) {
      english.set(Number(index), unquote(literal!));
    }
  }
  return [...english]
    .sort(([a], [b]) => a - b)
    .map(([index, text]) => [mnemonic(text), mnemonic(chinese[index] ?? "")]);
}

function unquote(literal: string): string {
  const body = literal.slice(1, -1).replace(/\\'/g, "'").replace(/\t/g, "\\t");
  return JSON.parse(`"${literal[0] === "'" ? body.replace(/(?<!\\)"/g, '\\"') : body}"`) as string;
}

/** Menu texts mark their access key: "&&Close" and "关闭(&&C)". The mark is no part of the language. */
function mnemonic(text: string): string {
  return text.replace(/\(&&\w\)/g, "").replaceAll("&&", "");
}

/** Names of languages, territories, scripts, variants and locale options; alternative forms are left out. */
function cldr(root: string): Pair[] {
  const names = (locale: string, file: string) => {
    const path = join(root, "cldr-localenames-full", "main", locale, `${file}.json`);
    return JSON.parse(readFileSync(path, "utf8")).main[locale].localeDisplayNames as Record<string, unknown>;
  };
  const pairs: Pair[] = [];
  const walk = (en: unknown, zh: unknown, key: string) => {
    if (key.includes("-alt-")) return;
    if (typeof en === "string" && typeof zh === "string") pairs.push([en, zh]);
    else if (en !== null && zh !== null && typeof en === "object" && typeof zh === "object") {
      for (const [k, v] of Object.entries(en)) walk(v, (zh as Record<string, unknown>)[k], k);
    }
  };
  for (const file of ["languages", "territories", "scripts", "variants", "localeDisplayNames"]) {
    walk(names("en", file), names("zh", file), file);
  }
  return pairs;
}

/** One line of text on both sides, Chinese on the right, and one target a source: the most frequent, else the first. */
function clean(pairs: [...Pair, Origin][]): { source: string; target: string; task: "translate"; origin: Origin }[] {
  const votes = new Map<string, { source: string; origin: Origin; targets: Map<string, number> }>();
  for (const [rawSource, rawTarget, origin] of pairs) {
    const source = rawSource.trim();
    const target = rawTarget.trim();
    if (/[\r\n]/.test(source + target) || !/[A-Za-z]{2}/.test(source) || !HAN.test(target)) continue;
    const vote = votes.get(sourceKey(source)) ?? { source, origin, targets: new Map<string, number>() };
    vote.targets.set(target, (vote.targets.get(target) ?? 0) + 1);
    votes.set(sourceKey(source), vote);
  }
  return [...votes.values()].map(({ source, origin, targets }) => {
    const target = [...targets].reduce((best, next) => (next[1] > best[1] ? next : best))[0];
    return { source, target, task: "translate", origin };
  });
}

const root = process.argv[2];
if (!root) throw new Error("usage: extract.ts NODE_MODULES");
const pairs = [
  ...monaco(root).map((pair): [...Pair, Origin] => [...pair, "monaco"]),
  ...cldr(root).map((pair): [...Pair, Origin] => [...pair, "cldr"]),
];
const lines = clean(pairs).map((item) => JSON.stringify(item));
writeFileSync(fileURLToPath(new URL("real.jsonl", import.meta.url)), `${lines.join("\n")}\n`);
process.stdout.write(`${lines.length} of ${pairs.length} pairs kept\n`);
