// Owns those who use the simulated system: a person and apps with grants, who ask all the time and write down what became of it.
import { SomaError } from "../../kernel/abi/errors.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { personPermissions } from "../../kernel/abi/rights.ts";
import type { CallName, Input, Output } from "../../kernel/abi/syscalls.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { MODELS } from "./device.ts";
import { nextToken } from "./driver.ts";
import { Process, type World } from "./world.ts";

export class People {
  /** Jobs that were accepted. */
  readonly jobs = new Set<string>();
  /** Outcomes by code. */
  readonly outcomes = new Map<string, number>();
  open = 0;
  /** While true, they go on asking. */
  busy = true;
  private readonly process: Process;
  private readonly person: Client;
  private readonly apps = new Map<string, Client>();
  private submits = 0;

  constructor(private readonly world: World) {
    this.process = new Process("person", 1, 0, {});
    this.person = this.client("person");
  }

  private client(name: string): Client {
    const { world } = this;
    const { publicKey } = world.key();
    const permissions = name === "person" ? personPermissions(name) : undefined;
    const former = world.clock.current;
    world.clock.current = this.process;
    try {
      const token = { name, publicKey, ...(permissions ? { permissions } : {}) };
      return new Client(world.connect(this.process, token));
    } finally {
      world.clock.current = former;
    }
  }

  /** Begins to ask, `every` ms or so. */
  start(every: number): void {
    const { clock, random } = this.world;
    const ask = () => {
      if (!this.busy) return;
      this.act();
      clock.after(random.between(0.2, 1.8) * every, "ask", ask, this.process);
    };
    clock.after(2_000, "grants", () => void this.grants(), this.process);
    clock.after(1_000, "ask", ask, this.process);
  }

  /** Two apps get grants with budgets; one hands a part of its own on. */
  private async grants(): Promise<void> {
    const { world } = this;
    for (const holder of ["ann", "bob"]) {
      const wish = {
        holder,
        publicKey: world.key().publicKey,
        calls: ["model.generate", "memory.put", "memory.get", "auth.derive"],
        caveats: { tokens: { amount: 200, windowMs: 3_600_000 } },
      };
      const given = await this.call(this.person, "auth.grant", wish, { ttl: 20_000 });
      if (given !== undefined && this.busy) this.apps.set(holder, this.client(holder));
    }
    const [parent] = [...this.apps.values()];
    if (parent === undefined || !world.random.chance(0.5)) return;
    const wish = {
      holder: "child",
      publicKey: world.key().publicKey,
      calls: ["model.generate"],
      caveats: { tokens: { amount: 50, windowMs: 3_600_000 } },
    };
    if ((await this.call(parent, "auth.derive", wish, { ttl: 5_000 })) !== undefined)
      this.apps.set("child", this.client("child"));
  }

  private act(): void {
    const { random } = this.world;
    const asker = this.apps.size > 0 && random.chance(0.6) ? random.pick([...this.apps.values()]) : this.person;
    const kind = random.next();
    if (kind < 0.5) void this.generate(asker);
    else if (kind < 0.62) void this.remember(asker);
    else if (kind < 0.7) void this.submit();
    else if (kind < 0.76) void this.call(this.person, "kernel.ps", {});
    else if (kind < 0.8) void this.call(this.person, "memory.free", {});
    else if (kind < 0.84) void this.call(this.person, "scheduler.queue", {});
    else if (kind < 0.86 && this.apps.has("bob")) void this.revoke("bob");
    else if (kind < 0.9) void this.generate(asker, random.between(20, 600));
    else if (kind < 0.92) void this.restart();
    else void this.call(this.person, "device.list", {}, { ttl: 500 });
  }

  private async restart(): Promise<void> {
    const service = this.world.random.pick(["auth", "memory", "device", "scheduler", "model"]);
    this.world.requested(service);
    await this.call(this.person, "kernel.restart", { service }, { ttl: 8_000 });
  }

  private async revoke(holder: string): Promise<void> {
    this.apps.delete(holder);
    await this.call(this.person, "auth.revoke", { holder }, { ttl: 10_000 });
  }

  private async remember(asker: Client): Promise<void> {
    const key = `k${this.world.random.whole(0, 3)}`;
    await this.call(asker, "memory.put", { key, value: this.world.clock.events });
    await this.call(asker, "memory.get", { key });
  }

  /** The same key again after a failure: it must be the same job. */
  private async submit(): Promise<void> {
    const key = `s${this.submits++}`;
    const wish = { name: "m", architecture: "mlp" as const, data: "random" as const };
    const ids = new Set<string>();
    for (let attempt = 0; attempt < 3; attempt++) {
      const accepted = await this.call(this.person, "model.train", wish, { key, ttl: 4_000 });
      if (accepted === undefined) continue;
      ids.add(accepted.job);
      this.jobs.add(accepted.job);
      if (this.world.random.chance(0.7)) break;
    }
    this.world.check("a key is one job", ids.size <= 1, () => `${key} became ${[...ids]}`);
  }

  /** One request; counts its outcomes. Gives the output, or nothing when it failed. */
  private async call<N extends CallName>(
    client: Client,
    name: N,
    input: Input<N>,
    options: { ttl?: number; key?: string } = {},
  ): Promise<Output<N> | undefined> {
    const ttl = options.ttl ?? LIMITS.callTtl;
    return this.outcome(name, ttl, () => client.call(name, input, { ...options, ttl }));
  }

  private async outcome<R>(name: string, ttl: number, work: () => Promise<R>): Promise<R | undefined> {
    const { world } = this;
    const { clock } = world;
    const began = clock.now;
    let outcomes = 0;
    this.open += 1;
    // Times to live are whole ms, rounded up at each attempt.
    clock.after(ttl + LIMITS.deadlineGrace + 2, "overdue", () => {
      const late = `${name}, asked at ${began.toFixed(1)} for ${ttl} ms, has ${outcomes} outcomes`;
      world.check("each request has one outcome in time", outcomes === 1, () => late);
    });
    const settle = (code: string) => {
      outcomes += 1;
      this.open -= 1;
      this.outcomes.set(`${name} ${code}`, (this.outcomes.get(`${name} ${code}`) ?? 0) + 1);
    };
    try {
      const output = await work();
      settle("OK");
      return output;
    } catch (error) {
      settle(error instanceof SomaError ? error.code : "bug");
      if (!(error instanceof SomaError)) world.bug(error);
      return undefined;
    }
  }

  /** A stream of tokens, perhaps canceled after a while. */
  private async generate(asker: Client, cancelAfter?: number): Promise<void> {
    const { world } = this;
    const { random, clock } = world;
    // Many begin alike: their prefixes share KV blocks.
    const common = random.chance(0.4) ? Array.from({ length: random.pick([16, 20, 32]) }, (_, i) => i) : [];
    const prompt = [...common, ...Array.from({ length: random.whole(1, 40) }, () => random.whole(0, 996))];
    const maxTokens = random.whole(1, 60);
    const ttl = random.pick([1_500, 8_000, 20_000]);
    const ids = [...prompt];
    await this.outcome("model.generate", ttl, async () => {
      const stream = asker.stream(
        "model.generate",
        { model: random.pick(MODELS), prompt: prompt.join(" "), maxTokens },
        { ttl },
      );
      if (cancelAfter !== undefined) clock.after(cancelAfter, "cancel", () => stream.cancel());
      for await (const chunk of stream) {
        const { pos, ids: more } = chunk;
        const at = ids.length - prompt.length;
        world.check("tokens come in order, each once", pos === at, () => `position ${pos} came after ${at} tokens`);
        for (const id of more) {
          const expected = nextToken(ids);
          world.check("tokens are the same whatever happens", id === expected, () => `${id}, not ${expected}`);
          ids.push(id);
        }
      }
      const output = await stream.result;
      const got = ids.length - prompt.length;
      world.check("an answer is complete", got === maxTokens, () => `${got} of ${maxTokens} tokens, and it ended`);
      return output;
    });
  }

  /** Asks for something that needs every KV block: only possible when all were given back. */
  async everything(model: string, blocks: number): Promise<boolean> {
    const prompt = [1];
    const maxTokens = blocks * 16 - 1;
    const { world } = this;
    const former = world.clock.current;
    world.clock.current = this.process;
    const done = this.outcome("model.generate", 30_000, async () => {
      const stream = this.person.stream(
        "model.generate",
        { model, prompt: prompt.join(" "), maxTokens },
        { ttl: 30_000 },
      );
      let count = 0;
      for await (const { ids } of stream) count += ids.length;
      await stream.result;
      return count;
    });
    world.clock.current = former;
    return (await done) === maxTokens;
  }
}
