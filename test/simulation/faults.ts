// Owns what goes wrong in a run: which kinds of fault its seed chose, how often each strikes, and their end.
import { SERVICES } from "../../kernel/abi/names.ts";
import { CALM } from "./broker.ts";
import type { World } from "./world.ts";

/** All that may strike. `store`: a write that is not acknowledged. */
export const FAULTS = [
  "drop",
  "duplicate",
  "delay",
  "reorder",
  "kill",
  "pause",
  "ghost",
  "kernel",
  "crashloop",
  "broker",
  "store",
] as const;

/** A seed has each kind of fault or not: a few at a time find more than all at once. */
const PRESENCE = 0.35;

export class Faults {
  private readonly kinds: ReadonlySet<string>;
  private over = false;

  constructor(private readonly world: World) {
    const { random } = world;
    this.kinds = new Set(FAULTS.filter(() => random.chance(PRESENCE)));
    const rate = (kind: string, most: number) => (this.kinds.has(kind) ? random.between(0, most) : 0);
    world.broker.weather = {
      drop: rate("drop", 0.02),
      duplicate: rate("duplicate", 0.05),
      delay: rate("delay", 0.05),
      delayMs: random.pick([20, 200, 1_500]),
      reorder: rate("reorder", 0.05),
    };
    world.flaky = rate("store", 0.1);
  }

  start(): void {
    const { random } = this.world;
    const often = (kind: string, from: number, to: number, strike: () => boolean) => {
      if (!this.kinds.has(kind)) return;
      const again = () => {
        if (this.over) return;
        if (strike()) this.world.strike(kind);
        this.world.clock.after(random.between(from, to), "fault", again, null);
      };
      this.world.clock.after(random.between(0, to), "fault", again, null);
    };
    often("kill", 600, 5_000, () => this.on((process) => this.world.kill(process)));
    often("pause", 600, 5_000, () =>
      this.on((process) => this.world.pause(process, random.pick([50, 500, 2_500, 6_000]))),
    );
    often("ghost", 1_200, 5_500, () =>
      this.on((process) => this.world.ghost(process, random.pick([300, 2_000, 6_000]))),
    );
    often("kernel", 1_200, 7_500, () => {
      const { kernel } = this.world;
      if (kernel === undefined) return false;
      if (random.chance(0.3)) this.world.pause(kernel, random.pick([300, 1_500, 4_000, 7_000]));
      else this.world.kill(kernel);
      return true;
    });
    often("broker", 2_500, 8_000, () => {
      if (!this.world.broker.up) return false;
      this.world.broker.restart(random.between(100, 3_000));
      return true;
    });
    often("crashloop", 3_000, 10_000, () => {
      const service = random.pick(SERVICES.filter((name) => name !== "auth"));
      this.loop(`${service}-1`, random.whole(2, 9));
      return true;
    });
  }

  /** From here on nothing goes wrong any more. */
  stop(): void {
    this.over = true;
    this.world.broker.weather = CALM;
    this.world.flaky = 0;
  }

  private on(strike: (process: NonNullable<ReturnType<World["processes"]["get"]>>) => void): boolean {
    const children = [...this.world.processes.values()].filter(
      ({ id, paused, dead }) => id !== "kernel" && !paused && !dead,
    );
    if (children.length === 0) return false;
    strike(this.world.random.pick(children));
    return true;
  }

  /** Kills the same one again and again as soon as it runs. */
  private loop(id: string, times: number): void {
    const { clock, random, processes } = this.world;
    const again = (left: number) => {
      if (this.over || left === 0) return;
      const process = processes.get(id);
      if (process && !process.dead) this.world.kill(process);
      clock.after(random.between(100, 800), "fault", () => again(process ? left - 1 : left), null);
    };
    again(times);
  }
}
