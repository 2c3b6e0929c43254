// What holding a text to a JSON Schema costs each token, by the tokenizer.json that is named: `npm run bench -- grammar FILE`.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Grammars } from "../../services/device/grammar/grammars.ts";
import { Vocabulary } from "../../services/device/grammar/trie.ts";
import { writeSpelling } from "../../services/model/text/spelling.ts";
import { loadTokenizer } from "../../services/model/text/tokenizer.ts";

const [file = ""] = process.argv.slice(2);
if (!existsSync(file)) {
  process.stderr.write("say which tokenizer.json: npm run bench -- grammar FILE\n");
  process.exit(64);
}
const SCHEMA = JSON.stringify({
  type: "object",
  properties: {
    name: { type: "string" },
    id: { type: "string", pattern: "^[A-Z]{3}-\\d{4}$" },
    short: { type: "string", maxLength: 40 },
    age: { type: "integer", minimum: 0, maximum: 130 },
    tags: { type: "array", items: { enum: ["red", "green", "blue"] } },
    more: { $ref: "#" },
  },
  required: ["name", "id", "short", "age"],
});
const TEXTS = 20;
const TOKENS = 200;

const timed = <T>(work: () => T): [T, number] => {
  const from = performance.now();
  return [work(), performance.now() - from];
};
const row = (what: string, value: number | string) =>
  process.stdout.write(
    `${what.padEnd(52)}${String(typeof value === "number" ? value.toPrecision(3) : value).padStart(10)}\n`,
  );

const dir = mkdtempSync(join(tmpdir(), "soma-grammar-"));
const { path } = await writeSpelling(dir, loadTokenizer(JSON.parse(readFileSync(file, "utf8"))));
const spelling = readFileSync(path);
rmSync(dir, { recursive: true });
const [vocabulary, buildMs] = timed(() => Vocabulary.from(spelling));
row("ids", String(vocabulary.ids));
row("trie, once a model: ms", buildMs);
row("  MB, shared by all threads", vocabulary.shared.byteLength / 2 ** 20);

/** ms of each token's mask and step, and how many there were; a model that likes letters more than quotes. */
function write(grammars: Grammars, seed: number): number[] {
  const guide = grammars.guide({ schema: SCHEMA, made: [] }, TOKENS, []);
  let state = seed;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const costs: number[] = [];
  while (costs.length < TOKENS && !guide.complete) {
    const logits = Float32Array.from({ length: vocabulary.ids }, uniform);
    const [, restrict] = timed(() => guide.restrict(logits));
    let best = 0;
    for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
    const [, take] = timed(() => guide.take(best));
    costs.push(restrict + take);
  }
  return costs;
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const quantile = (values: number[], share: number) =>
  [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))]!;
// Compiled code, before anything is timed.
write(new Grammars(vocabulary), 999);
const grammars = new Grammars(vocabulary);
const [, compileMs] = timed(() => grammars.guide({ schema: SCHEMA, made: [] }, TOKENS, []));
row("schema, once: ms", compileMs);
const cold = write(grammars, 1);
row("first text with it, a token: ms, mean", mean(cold));
row("  the slowest", Math.max(...cold));
const warm = Array.from({ length: TEXTS }, (_, i) => write(grammars, i + 2)).flat();
row(`${TEXTS} more texts, a token: ms, mean`, mean(warm));
row("  half of them below", quantile(warm, 0.5));
row("  99 % below", quantile(warm, 0.99));
