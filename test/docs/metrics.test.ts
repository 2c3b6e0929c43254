import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { METRICS, type MetricName } from "../../kernel/abi/metrics.ts";

const read = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");

/** Labels that every metric has, and those that Prometheus makes of a histogram. */
const ALWAYS = ["service", "instance", "le"];

/** Checks names of metrics and the labels that are asked of them. Undefined if all is well. */
function fault(expression: string): string | undefined {
  const used = [...expression.matchAll(/\b(soma_\w+)/g)].map(([, name]) => name!);
  if (used.length === 0) return `${expression}: no metric`;
  const labels = new Set<string>(ALWAYS);
  for (const name of used) {
    const base = name.replace(/_(bucket|sum|count)$/, "");
    const metric = METRICS[(base in METRICS ? base : name) as MetricName];
    if (metric === undefined) return `${name} is no metric`;
    const part = metric.type === "histogram";
    if (part === (base === name)) return `${name}: ${part ? "say which part of the histogram" : "is no histogram"}`;
    for (const label of metric.labels) labels.add(label);
  }
  const asked = [
    ...[...expression.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(/,\s*/)),
    ...[...expression.matchAll(/[{,]\s*(\w+)="/g)].map(([, label]) => label!),
  ];
  const unknown = asked.find((label) => !labels.has(label));
  if (unknown !== undefined) return `${expression}: no label ${unknown}`;
  const depth = [...expression].reduce((open, char) => open + Number(char === "(") - Number(char === ")"), 0);
  return depth === 0 ? undefined : `${expression}: brackets do not match`;
}

test("every panel of the dashboard asks for metrics and labels that exist", () => {
  const { panels } = JSON.parse(read("grafana.json")) as { panels: { title: string; targets: { expr: string }[] }[] };
  assert.ok(panels.length > 10);
  for (const { title, targets } of panels)
    for (const { expr } of targets) assert.is(fault(expr), undefined, `panel "${title}"`);
});

test("every alert has a name, says what to do, and asks for metrics and labels that exist", () => {
  const rules = read("alerts.yml")
    .split(/^ {6}- alert: /m)
    .slice(1);
  assert.ok(rules.length > 5);
  for (const rule of rules) {
    const [name = ""] = rule.split("\n");
    assert.match(name, /^Soma[A-Za-z]+$/);
    assert.is(fault(/^ {8}expr: (.+)$/m.exec(rule)?.[1] ?? ""), undefined, name);
    assert.match(rule, /^ {8}annotations:\n {10}summary: ".+"$/m, name);
    for (const line of rule.trimEnd().split("\n").slice(1))
      assert.match(line, /^ {8}(expr: .+|for: \d+[smh]|annotations:)$|^ {10}summary: ".+"$/, `${name}: ${line}`);
  }
});

test("a name, a label or a bracket that is wrong would be found", () => {
  assert.match(fault("rate(soma_tokens_total[5m])")!, /no metric/);
  assert.match(fault("sum by (model) (soma_sequences)")!, /no label model/);
  assert.match(fault("rate(soma_token_seconds[5m])")!, /which part/);
  assert.match(fault("sum(soma_sequences")!, /brackets/);
});

test.run();
