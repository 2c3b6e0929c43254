// Owns the gate before a promotion: a version is measured, perhaps beside the one it is to replace, and each check says why.
import type { z } from "zod";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Principal } from "../../../kernel/abi/headers.ts";
import type { Output, Syscalls } from "../../../kernel/abi/syscalls.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import type { Catalog } from "../catalog.ts";
import type { Sets } from "../data/sets.ts";
import { schedulerEngine } from "../engine.ts";
import { type Measured, measure } from "../evaluate.ts";
import { versionText } from "../record.ts";
import type { Found } from "../registry.ts";
import { residentId } from "../residents.ts";
import type { Example } from "../text/records.ts";

export type Check = z.output<Syscalls["model"]["promote"]["input"]>["gate"][number];
export type Checked = Output<"model.promote">["checks"][number];

interface Options {
  for: Principal;
  signal: AbortSignal;
}

/** Less is better; of all others more is. */
const LESS: readonly Check["metric"][] = ["loss", "perplexity", "answerMs"];

export class Gate {
  constructor(
    private readonly client: Client,
    private readonly catalog: Catalog,
    private readonly sets: Sets,
  ) {}

  /** Measures each check; `before` is what the alias points at now. EINVAL for one that cannot be made. */
  async measure(found: Found, before: Found | undefined, gate: readonly Check[], options: Options): Promise<Checked[]> {
    const made = new Map<string, Promise<Measured>>();
    const measured = (of: Found, check: Check) => {
      const { data, split, limit } = check;
      const key = JSON.stringify([versionText(of.record), of.dtype, data, split, limit]);
      if (!made.has(key)) made.set(key, this.evaluated(of, check, options));
      return made.get(key)!;
    };
    const results: Checked[] = [];
    for (const check of gate) {
      const compared = check.worse !== undefined && before !== undefined ? await measured(before, check) : undefined;
      results.push(decide(check, await measured(found, check), compared));
    }
    return results;
  }

  private async evaluated(found: Found, check: Check, options: Options): Promise<Measured> {
    const { residents, texts } = this.catalog.options;
    const text = texts.of(found.record);
    const examples = await this.examples(found, check, options);
    const { id, wanted } = this.catalog.wanted(found);
    const who = `gate ${id}`;
    await residents.need(id, wanted, who);
    try {
      return await measure(
        text,
        examples,
        schedulerEngine(this.client, residentId(found.record, found.dtype), options),
      );
    } finally {
      residents.release(id, who);
    }
  }

  private async examples({ record }: Found, { data, split, limit }: Check, options: Options): Promise<Example[]> {
    if (data === undefined) return this.catalog.examples(record, split).slice(0, limit);
    if (split === "handwritten")
      throw new SomaError("EINVAL", "a data set has train, validation and test: name one of these");
    const examples: Example[] = [];
    const set = this.sets.find(data, options.for.principal);
    for await (const example of this.sets.examples(set, split, options.signal)) {
      examples.push(example);
      if (examples.length === limit) break;
    }
    return examples;
  }
}

/** One check against its figures. Pure. */
export function decide(check: Check, measured: Measured, before?: Measured): Checked {
  const { metric, data, split, min, max, worse } = check;
  const { value, low, high } = measured.figures[metric];
  const less = LESS.includes(metric);
  const old = before?.figures[metric].value;
  const bound = old === undefined || worse === undefined ? undefined : less ? old * (1 + worse) : old * (1 - worse);
  const tests: [boolean, string][] = [];
  if (min !== undefined) tests.push([value >= min, `>= ${min}`]);
  if (max !== undefined) tests.push([value <= max, `<= ${max}`]);
  if (bound !== undefined)
    tests.push([less ? value <= bound : value >= bound, `${less ? "<=" : ">="} ${short(bound)} (now ${short(old!)})`]);
  if (tests.length === 0 && worse === undefined)
    throw new SomaError("EINVAL", `the check of ${metric} can not fail: give it min, max or worse`);
  const failed = tests.find(([passed]) => !passed);
  const shown = failed ? [failed] : tests;
  return {
    ...{ metric, data: data ?? "its own", split, cases: measured.cases, value, low, high },
    ...(old === undefined ? {} : { before: old }),
    passed: failed === undefined,
    why: `${short(value)} ${failed ? "is not " : ""}${shown.map(([, text]) => text).join(" and ") || "is the first"}`,
  };
}

function short(value: number): string {
  return Number(value.toPrecision(4)).toString();
}
