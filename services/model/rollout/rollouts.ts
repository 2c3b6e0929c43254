// Owns where aliases point: promoted through a gate, tried out by a canary, taken back. Each change is one write to the registry.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Catalog } from "../catalog.ts";
import { type Alias, type Canary, type Pointer, versionText } from "../record.ts";
import type { Found } from "../registry.ts";
import { residentId } from "../residents.ts";
import { Arm, inShare, type Timing, verdict } from "./arms.ts";

type Row = Output<"model.rollouts">["rollouts"][number];

/** Who asks, and the key that stays the same when a lost request is made again. */
export interface Asker {
  principal: string;
  key: string;
}

/** Which side of which alias a request went to. */
export interface Side {
  alias: string;
  arm: Arm;
}

interface Trial {
  since: number;
  stable: Arm;
  canary: Arm;
}

export class Rollouts {
  private readonly trials = new Map<string, Trial>();

  constructor(
    private readonly catalog: Catalog,
    /** Told when a rule decided. */
    private readonly decided: (row: Row) => void,
    /** What cannot be written for a reason that will not pass. */
    private readonly crash: (error: unknown) => void,
  ) {}

  /** The version that a request runs on. */
  choose(ref: string, { principal, key }: Asker): { found: Found; side?: Side } {
    const { registry } = this.catalog.options;
    const found = registry.find(ref);
    const canary = registry.alias(ref)?.canary;
    if (canary === undefined) return { found };
    const trial = this.trial(ref, canary);
    if (!canary.apps.includes(principal) && !inShare(key, canary.share))
      return { found, side: { alias: ref, arm: trial.stable } };
    const record = registry.find(versionText(canary)).record;
    return { found: { record, dtype: canary.dtype }, side: { alias: ref, arm: trial.canary } };
  }

  /** The end of a request: it counts, and may decide. */
  ended({ alias, arm }: Side, error: unknown, timing: Timing): void {
    arm.add(error, timing);
    const to = this.catalog.options.registry.alias(alias);
    const trial = this.trials.get(alias);
    // One that began under another canary says nothing of this one.
    if (to?.canary === undefined || trial === undefined || ![trial.stable, trial.canary].includes(arm)) return;
    const made = verdict(
      trial.stable.row(to.name, to.version),
      trial.canary.row(to.canary.name, to.canary.version),
      to.canary.rule,
    );
    if (made === undefined) return;
    // Once only, however many end before it is written.
    this.trials.delete(alias);
    const change =
      made.what === "promoted" ? this.point(alias, to.canary, made.why) : this.withdraw(alias, to, made.why);
    change.then(() => this.decided(this.row(alias)), this.crash);
  }

  /** Loads a version and points the alias at it; what it pointed at stays loaded for a while, for the way back. */
  async promote(alias: string, found: Found, why: string): Promise<Row> {
    const { name, version } = found.record;
    await this.load(found, alias);
    await this.point(alias, { name, version, dtype: found.dtype }, why);
    return this.row(alias);
  }

  /** EINVAL for an alias that is none, or for the version that it has. */
  async canary(
    alias: string,
    found: Found,
    { share, apps, rule }: Pick<Canary, "share" | "apps" | "rule">,
  ): Promise<Row> {
    const { registry, now } = this.catalog.options;
    const to = this.find(alias);
    const { name, version } = found.record;
    if (to.name === name && to.version === version && to.dtype === found.dtype)
      throw new SomaError(
        "EINVAL",
        `"${alias}" is ${versionText(found.record)} already: try another version beside it`,
      );
    await this.load(found, alias);
    const canary = { name, version, dtype: found.dtype, share, apps, rule, since: now() };
    const why = `${versionText(found.record)} for ${(100 * share).toFixed(1)} % of requests${apps.map((app) => `, ${app}`).join("")}`;
    this.trials.delete(alias);
    await registry.point(alias, { ...to, canary, last: { what: "canary", why, at: now() } });
    return this.row(alias);
  }

  /** ENOENT when there is nothing to go back to. */
  async rollback(alias: string): Promise<Row> {
    const to = this.find(alias);
    if (to.canary !== undefined) await this.withdraw(alias, to, "by hand");
    else if (to.previous === undefined)
      throw new SomaError(
        "ENOENT",
        `"${alias}" never pointed at another version: promote one with "soma model promote"`,
      );
    else {
      const { registry } = this.catalog.options;
      const { record } = registry.find(versionText(to.previous));
      await this.load({ record, dtype: to.previous.dtype }, alias);
      await this.point(alias, to.previous, "by hand", "rolled back");
    }
    return this.row(alias);
  }

  list(): Row[] {
    return this.catalog.options.registry.aliasNames().map((alias) => this.row(alias));
  }

  private row(alias: string): Row {
    const { name, version, dtype, previous, canary, last } = this.find(alias);
    const trial = this.trials.get(alias);
    const arms =
      canary && trial ? [trial.stable.row(name, version), trial.canary.row(canary.name, canary.version)] : [];
    return {
      ...{ alias, model: name, version, dtype },
      previous: previous ? versionText(previous) : null,
      canary: canary ? { ...withoutName(canary), model: canary.name } : null,
      arms,
      last: last ?? null,
    };
  }

  private trial(alias: string, { since }: Canary): Trial {
    let trial = this.trials.get(alias);
    if (trial?.since !== since) {
      trial = { since, stable: new Arm(), canary: new Arm() };
      this.trials.set(alias, trial);
    }
    return trial;
  }

  private find(alias: string): Alias {
    const { registry } = this.catalog.options;
    const to = registry.alias(alias);
    if (to !== undefined) return to;
    throw new SomaError("ENOENT", `no alias "${alias}": there are ${registry.aliasNames().join(", ") || "none"}`);
  }

  /** One write: requests from then on go there, those that run go on where they are. */
  private async point(alias: string, to: Pointer, why: string, what = "promoted"): Promise<void> {
    const { registry, now } = this.catalog.options;
    const before = registry.alias(alias);
    const { name, version, dtype } = to;
    const previous = before && { name: before.name, version: before.version, dtype: before.dtype };
    const last = { what, why: `${versionText(to)}: ${why}`, at: now() };
    this.trials.delete(alias);
    await registry.point(alias, { name, version, dtype, ...(previous ? { previous } : {}), last });
  }

  private async withdraw(alias: string, { canary, ...to }: Alias, why: string): Promise<void> {
    const { registry, residents, now } = this.catalog.options;
    const last = { what: "rolled back", why: `${versionText(canary!)}: ${why}`, at: now() };
    this.trials.delete(alias);
    await registry.point(alias, { ...to, last });
    const id = residentId(canary!, canary!.dtype);
    if (!this.catalog.aliased(id)) residents.retire(id);
  }

  private async load(found: Found, alias: string): Promise<void> {
    const { residents } = this.catalog.options;
    if (!found.record.templates) return;
    const { id, wanted } = this.catalog.wanted(found);
    await residents.need(id, wanted, `alias ${alias}`);
    residents.release(id, `alias ${alias}`);
  }
}

function withoutName({ name: _, ...canary }: Canary): Omit<Canary, "name"> {
  return canary;
}
