// Owns journalled work that goes on under every fault: apps submit trainings, repeat under the same key what is refused or in doubt,
// and wait for the end. What was accepted is done, and done once.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import { type Figures, load } from "./figures.ts";
import { loud } from "./load.ts";
import type { App, Rig } from "./rig.ts";

/** Apps that submit, each its next one so long after the last has ended, ms. */
const LANES = 4;
const PAUSE = 1_000;
/** Of a submission; and within which, once the faults are over, all must be accepted and end, ms. */
const TTL = 2_000;
const PATIENCE = 120_000;
/** Milliseconds of work: it is the journal that is tried. */
const TRAINING = {
  architecture: "mlp" as const,
  data: "random",
  config: { layers: [4, 8, 2] },
  hyper: { steps: 20, examples: 16 },
};

type Row = Output<"model.job">;
interface Accepted {
  name: string;
  app: App;
  job: string;
  /** Its last row; undefined when it did not end. */
  row: Row | undefined;
}

export class Work {
  private readonly accepted: Accepted[] = [];
  private going = false;
  /** While faults go on, work may be put off again and again: that is no loss. */
  private end = Number.POSITIVE_INFINITY;
  private lanes: Promise<void>[] = [];
  private readonly counts = { refused: 0, inDoubt: 0, setAside: 0 };
  /** Of submissions that nobody took. */
  private readonly unheard: string[] = [];

  constructor(private readonly rig: Rig) {}

  start(): void {
    this.going = true;
    this.lanes = this.rig.apps.slice(0, LANES).map((app) => this.lane(app));
    for (const lane of this.lanes) loud(lane);
  }

  /** Lets what was accepted come to its end. */
  async stop(): Promise<void> {
    this.going = false;
    this.end = performance.now() + PATIENCE;
    await Promise.all(this.lanes);
  }

  /** What came of it; its models are removed, so that lists stay short. */
  async tell(figures: Figures): Promise<void> {
    let [lost, doubled] = [0, 0];
    const wrong = [...this.unheard];
    for (const { name, job, row } of this.accepted) {
      const made = await this.made(name, Number(row?.model.split("@")[1] ?? 0));
      if (made === 0) wrong.push(`${name} ${job}: ${row?.state ?? "never ended"} ${row?.error ?? ""}`);
      lost += made === 0 ? 1 : 0;
      doubled += Math.max(0, made - 1);
    }
    const part = "submit, all the while";
    const { refused, inDoubt, setAside } = this.counts;
    const note = `${refused} refused, ${inDoubt} in doubt, ${setAside} set aside after three crashes: each again under its key; load average ${load()}`;
    figures.add(part, "accepted", this.accepted.length, "", { least: LANES }, note);
    figures.add(part, "never accepted", this.unheard.length, "", { most: 0 });
    figures.add(part, "accepted work lost", lost, "", { most: 0 }, wrong.slice(0, 3).join("; "));
    figures.add(part, "done twice", doubled, "", { most: 0 }, "versions of one name beyond the first");
  }

  private async lane(app: App): Promise<void> {
    for (let n = 0; this.going; n++) {
      await this.whole(app, `work-${app.name}-${n}`);
      if (this.going) await sleep(PAUSE);
    }
  }

  /** One from its first submission to its end; begun anew when kills have set it aside, as its owner would. */
  private async whole(app: App, name: string): Promise<void> {
    for (let known: Accepted | undefined; ; this.counts.setAside++) {
      const job = await this.submit(app, name);
      if (job === undefined) return void this.unheard.push(`${name}: nobody took it`);
      if (known === undefined) this.accepted.push((known = { name, app, job, row: undefined }));
      // The acknowledgement may get lost in life: then it is submitted once more.
      await app.client.call("model.train", { ...TRAINING, name }, { ttl: TTL, key: name, retry: false }).catch(coded);
      known.row = await this.ended(app, job);
      if (known.row?.state !== "setAside") return;
    }
  }

  /** The job's id; undefined when it was not taken in time. */
  private async submit(app: App, name: string): Promise<string | undefined> {
    while (performance.now() < this.end) {
      try {
        const options = { ttl: TTL, key: name, retry: false };
        return (await app.client.call("model.train", { ...TRAINING, name }, options)).job;
      } catch (error) {
        const { executed, retryAfterMs } = coded(error);
        this.counts[executed === "no" ? "refused" : "inDoubt"] += 1;
        await sleep(retryAfterMs ?? 50);
      }
    }
    return undefined;
  }

  private async ended(app: App, job: string): Promise<Row | undefined> {
    let row: Row | undefined;
    for (; performance.now() < this.end; await sleep(100)) {
      try {
        row = await app.client.call("model.job", { job }, { ttl: TTL, retry: false });
        if (["done", "failed", "canceled", "setAside"].includes(row.state)) return row;
      } catch (error) {
        // Accepted, and unknown to a service that answers: lost. All else passes.
        if (coded(error).code === "ENOENT") return undefined;
      }
    }
    return row;
  }

  /** How many versions the name has; removes them. A number is never given twice, so the newest tells how far to look. */
  private async made(name: string, told: number): Promise<number> {
    const { person } = this.rig;
    const there = async (model: string) => {
      try {
        return (await person.call("model.show", { model })).version;
      } catch (error) {
        if (coded(error).code !== "ENOENT") throw error;
        return 0;
      }
    };
    const newest = await there(name);
    let made = 0;
    for (let version = 1; version <= Math.max(newest, told); version++) {
      const model = `${name}@${version}`;
      if ((await there(model)) === 0) continue;
      made += 1;
      await person.call("model.remove", { model });
    }
    return made;
  }
}

/** Only what has a code is an answer; all else is a bug. */
function coded(error: unknown): SomaError {
  if (error instanceof SomaError) return error;
  throw error;
}
