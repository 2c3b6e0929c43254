// Owns which versions are in devices' memory on this service's behalf: one actor each, asked for by name.
import { type ActorRefFrom, waitFor } from "xstate";
import { versionText } from "./record.ts";
import type { Loaded, residentMachine } from "./resident.ts";
import type { Spelling } from "./text/spelling.ts";

/** What a device needs to load a version. */
export interface Wanted {
  dir: string;
  config: Record<string, unknown>;
  bytes: number;
  sha256: string;
  /** Writes what its ids spell, for models of text. */
  spelling?: () => Promise<Spelling>;
  dtype: "f32" | "int8" | "int4";
}

type Resident = ActorRefFrom<typeof residentMachine>;

/** What devices and the scheduler call a version. */
export function residentId(record: { name: string; version: number }, dtype: "f32" | "int8" | "int4"): string {
  return versionText(record) + (dtype === "f32" ? "" : `+${dtype}`);
}

export class Residents {
  private readonly actors = new Map<string, Resident>();
  private readonly files = new Map<string, Wanted>();

  /** `start` makes the actor of an id; `keep` says whether it is to stay though nobody uses it now. */
  constructor(
    private readonly start: (id: string) => Resident,
    private readonly keep: (id: string) => boolean,
  ) {}

  /** What `load` needs to know of an id. */
  wanted(id: string): Wanted {
    const found = this.files.get(id);
    if (found === undefined) throw new Error(`${id} was never asked for`);
    return found;
  }

  /** Resolves when it is resident; `who` uses it until `release`. Rejects with the device's refusal. */
  async need(id: string, wanted: Wanted, who: string): Promise<Loaded> {
    this.files.set(id, wanted);
    let actor = this.actors.get(id);
    if (actor === undefined) {
      actor = this.start(id);
      this.actors.set(id, actor);
    }
    actor.send({ type: "need", who });
    const { context } = await waitFor(actor, (state) => state.matches("resident") || state.matches("failed"));
    if (context.loaded === undefined) {
      this.release(id, who);
      throw context.error;
    }
    return context.loaded;
  }

  release(id: string, who: string): void {
    this.actors.get(id)?.send({ type: "release", who });
  }

  /** What is resident now, without waiting. */
  loaded(id: string): Loaded | undefined {
    return this.actors.get(id)?.getSnapshot().context.loaded;
  }

  /** `resident`, `loading` and so on; undefined for one that was never asked for. */
  state(id: string): string | undefined {
    const value = this.actors.get(id)?.getSnapshot().value;
    return typeof value === "string" || value === undefined ? value : Object.keys(value)[0];
  }

  /** A device went down: what was there is loaded again. Or one came: what is in use is loaded there as well. */
  devicesChanged(): void {
    for (const actor of this.actors.values()) actor.send({ type: "changed" });
  }

  /** To be unloaded when its last user is gone. */
  retire(id: string): void {
    this.actors.get(id)?.send({ type: "retire" });
  }

  /** Unloads what is idle and wanted by nobody; resolves, when it is gone, to whether there was any. */
  async makeRoom(): Promise<boolean> {
    const spare = [...this.actors].filter(
      ([id, actor]) => actor.getSnapshot().matches({ resident: "idle" }) && !this.keep(id),
    );
    for (const [, actor] of spare) actor.send({ type: "retire" });
    await Promise.all(spare.map(([, actor]) => waitFor(actor, (state) => !state.matches("unloading"))));
    return spare.length > 0;
  }

  states(): Record<string, string> {
    return Object.fromEntries([...this.actors.keys()].map((id) => [id, this.state(id) ?? "absent"]));
  }
}
