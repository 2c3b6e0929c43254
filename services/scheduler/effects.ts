// Owns what the scheduler does to the world: hands quanta to devices, hears of devices, answers requests, saves virtual time.
import { z } from "zod";
import { tryDecode } from "../../kernel/abi/codec.ts";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import { device as deviceCalls } from "../../kernel/abi/syscalls/device.ts";
import type { Request } from "../../kernel/ipc/request.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import type { Kv } from "../../kernel/ipc/store.ts";
import { Absence } from "./absence.ts";
import type { SavedAccount } from "./accounts.ts";
import type { Board, Input, Placement, Report } from "./board.ts";
import type { Budgets } from "./budgets.ts";
import { Forgetting } from "./forgetting.ts";
import { Handed } from "./handed.ts";
import type { Handover } from "./handover.ts";
import { Holds } from "./holds.ts";
import { type Cut, physical } from "./parts.ts";
import type { Sequence } from "./sequence.ts";
import type { Hurry } from "./slot.ts";

const listed = deviceCalls.list.output.pick({ device: true, models: true, trainings: true });
type Listed = z.output<typeof listed>;
/** What a device adds when it tells of itself. */
const told = listed.extend({ epoch: z.number().default(0), unanswered: z.array(z.string()) });

const TICK_MS = 250;
const SAVE_MS = 1_000;
/** A shorter wait gets no span, in ms. */
const WAIT_MS = 0.5;

export class Effects {
  private readonly absence = new Absence();
  private readonly holds = new Holds((device, ms) => {
    // One that does not hear it is told again by the next lease.
    this.ctx.client.call("device.hold", { ms }, { instance: device, retry: false }).catch((error) => {
      if (!isSomaError(error)) this.ctx.crash(error);
    });
  });
  private readonly handed = new Handed();
  private readonly forgetting = new Forgetting({
    drop: (device, model, seq) => this.ctx.client.call("device.drop", { model, seqs: [seq] }, { instance: device }),
    runsOn: (device, seq) => this.queue.sequences.get(seq)?.device === device,
    crash: (error) => this.ctx.crash(error),
  });
  private pumping = false;
  /** By device: what its next quantum waits for. */
  private readonly handing = new Map<string, Promise<unknown>>();
  /** When each traced request last came back from a device. */
  private readonly waitingSince = new WeakMap<Request, number>();
  private timers: NodeJS.Timeout[] = [];

  constructor(
    private readonly ctx: Context,
    private readonly queue: Board,
    private readonly budgets: Budgets,
    private readonly stores: { clock: Kv<SavedAccount>; parts: Kv<Cut[]> },
  ) {}

  /** Hears of devices; takes virtual time over from a former instance; asks every device what it has, and drops what ran for that one. */
  async open(): Promise<void> {
    const { bus, client } = this.ctx;
    await this.budgets.open();
    for (const { key, value } of await this.stores.clock.entries()) this.queue.accounts.restore(key, value);
    for (const { key, value } of await this.stores.parts.entries()) this.queue.cut(key, value);
    bus.subscribe("evt.*.device", ({ subject, data }) => {
      const { success, data: listing } = told.safeParse(tryDecode(data));
      if (!success || listing.device !== subject.split(".")[1])
        return this.ctx.log.warn({ subject }, "a device announced what nobody understands: dropped");
      this.handed.heard(listing.device, listing.unanswered, performance.now());
      this.announce(listing, listing.epoch);
    });
    bus.subscribe("evt.kernel.down.device.*.*", ({ subject }) => {
      const device = subject.split(".")[4]!;
      this.queue.down(device);
      this.holds.down(device);
      this.pump();
    });
    bus.on(({ type }) => {
      if (type === "back") this.pump();
    });
    const { processes } = await client.call("kernel.ps", {});
    const devices = processes.filter(({ id, state }) => serviceOf(id) === "device" && state === "ready");
    await Promise.all(devices.map(({ id, epoch }) => this.survey(id, epoch)));
    this.timers = [setInterval(() => this.tick(), TICK_MS), setInterval(() => void this.save(), SAVE_MS)];
  }

  async stop(): Promise<void> {
    this.forgetting.stop();
    for (const timer of this.timers) clearInterval(timer);
    await Promise.all([this.budgets.stop(), this.save()]);
  }

  private async survey(device: string, epoch: number): Promise<void> {
    const { client, log } = this.ctx;
    try {
      const found = await client.call("device.list", {}, { instance: device, ttl: 2_000 });
      for (const { model } of found.models)
        await client.call("device.drop", { model, seqs: [], all: true }, { instance: device });
      this.announce(found, epoch);
    } catch (error) {
      if (!isSomaError(error)) throw error;
      log.warn({ device, code: error.code }, "a device did not say what it has: waiting for its announcement");
    }
  }

  private announce({ device, models, trainings }: Listed, epoch: number): void {
    this.holds.heard(device, trainings > 0);
    const placements = models.map(
      ({ model, blocks, blockBytes, context, numerics }): Placement => ({
        device,
        epoch,
        model,
        blocks,
        blockBytes,
        context,
        numerics,
      }),
    );
    this.queue.announce(device, placements);
    this.pump();
  }

  place(placement: Placement): void {
    this.queue.place(placement);
    this.pump();
  }

  /** Cuts a device into parts, or with none given makes it one again; returns its name. Kept over restarts. ENOENT, EINVAL. */
  async cut(name: string, wanted: readonly (Omit<Cut, "memory"> & { memory?: number | undefined })[]): Promise<string> {
    const device = physical(name);
    if (this.queue.slots.resolve(device) !== device)
      throw new SomaError("EINVAL", `"${name}" is a part already: name the whole device, such as cpu0`);
    const parts = wanted.map(({ memory, ...cut }) => ({ ...cut, memory: memory ?? cut.share }));
    const { park, stranded } = this.queue.cut(device, parts);
    for (const { id, input } of park) void this.tell(device, input.model, id, "park");
    for (const { id, input } of stranded)
      this.refuse(
        id,
        new SomaError("ENOMEM", `no part of ${device} has room for it in ${input.model} any more: shorten it`),
      );
    this.pump();
    await this.stores.parts.put(device, parts);
    return device;
  }

  /** Queues a sequence, or says at once why it cannot be done. */
  admit(input: Input, request: Request): void {
    // The device sends tokens to no other inbox, and would refuse the whole quantum.
    if (serviceOf(request.caller) !== "model")
      throw new SomaError(
        "EPERM",
        `scheduler.run is for model instances, not "${request.caller}": call model.generate`,
      );
    const pin = input.device === undefined ? undefined : this.queue.slots.resolve(input.device);
    const capacity = this.queue.capacity(input.model, pin);
    const needed = Math.ceil((input.ids.length + input.maxNew) / 16);
    if (capacity !== undefined && needed > capacity) {
      throw new SomaError(
        "ENOMEM",
        `${needed} KV blocks are needed and ${input.model} has ${capacity}${pin === undefined ? "" : ` on ${pin}`}: shorten the prompt or ask for fewer tokens`,
      );
    }
    const estimate = this.queue.estimate(input, pin);
    if (estimate !== undefined && estimate > request.left) {
      throw new SomaError(
        "ETIME",
        `it would take ${Math.ceil(estimate)} ms, and ${Math.floor(request.left)} are left: allow more time`,
        { executed: "no" },
      );
    }
    const { mid, principal, signal } = request;
    const held = this.budgets.admit(mid, principal, input.model, input.ids.length + input.maxNew);
    if (held === undefined) return this.enqueue(input, request, pin);
    held.then(
      // Canceled meanwhile: its end was before its beginning.
      () => (signal.aborted ? this.budgets.ended(mid) : this.enqueue(input, request, pin)),
      (error) => {
        this.budgets.ended(mid);
        this.ctx.server.fail(mid, error);
      },
    );
  }

  private enqueue(input: Input, request: Request, pin: string | undefined): void {
    const { mid } = request;
    this.queue.add(mid, request.principal.principal, request.reply, request.deadline, input, pin);
    request.signal.addEventListener("abort", () => this.drop(mid), { once: true });
    for (const { device, model, how } of this.queue.held(mid)) this.interrupt(device, model, how);
    this.pump();
  }

  /** Ends the running quantum before its time; if that comes too late, nothing is lost. */
  private interrupt(device: string, model: string, how: Hurry): void {
    this.ctx.client
      .call("device.interrupt", { model, now: how === "now" }, { instance: device, retry: false })
      .catch((error) => {
        if (!isSomaError(error)) this.ctx.crash(error);
      });
  }

  private refuse(mid: string, error: SomaError): void {
    this.queue.remove(mid);
    this.ctx.server.fail(mid, error);
  }

  /** Canceled, or out of time: its KV is given back. */
  private drop(mid: string): void {
    const where = this.queue.remove(mid);
    if (where) void this.forgetting.forget(where.device, where.model, mid);
    this.pump();
  }

  private async tell(device: string, model: string, seq: string, aside?: "park" | "move"): Promise<void> {
    try {
      await this.ctx.client.call(
        "device.drop",
        { model, seqs: [seq], ...(aside ? { aside } : {}) },
        { instance: device },
      );
    } catch (error) {
      // A device that is gone has dropped it already.
      if (!isSomaError(error)) this.ctx.crash(error);
    }
  }

  /** See Board. Its deadline goes on. */
  pause(sequence: Sequence): void {
    const device = this.queue.pause(sequence);
    if (device !== undefined) void this.tell(device, sequence.input.model, sequence.id, "park");
    this.pump();
  }

  resume(sequence: Sequence): void {
    this.queue.resume(sequence);
    this.pump();
  }

  /** Hands out quanta until no device has room or nobody wants to run. Once per turn of the event loop. */
  pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    setImmediate(() => {
      this.pumping = false;
      // All that is handed over then fails at once.
      if (!this.ctx.bus.connected) return;
      this.holds.update(this.queue.wanting().length > 0, performance.now());
      for (let next = this.queue.next(); next !== undefined; next = this.queue.next()) void this.run(next);
    });
  }

  private async run({ device, quantum, cut, park, waited, move }: Handover): Promise<void> {
    const { client, server, log, crash, metrics } = this.ctx;
    for (const ms of waited) metrics.observe("soma_queue_wait_seconds", { model: quantum.model }, ms / 1000);
    if (park.length > 0) metrics.count("soma_preemptions_total", { device }, park.length);
    // Before the quantum, whose newcomers get the room.
    for (const seq of park) void this.tell(device, quantum.model, seq, "park");
    // Quanta go to a device in the order in which they were made, also where one waits for KV from elsewhere.
    const before = this.handing.get(device);
    if (move.length > 0 || before !== undefined) {
      const ready = Promise.all([
        before,
        ...move.map(({ device, seq }) => this.tell(device, quantum.model, seq, "move")),
      ]);
      this.handing.set(device, ready);
      await ready;
      if (this.handing.get(device) === ready) this.handing.delete(device);
    }
    if (cut) this.interrupt(device, quantum.model, cut);
    const mids = quantum.seqs.map(({ seq }) => seq);
    this.budgets.departed(mids);
    const handedAt = this.waited(mids);
    this.traced(quantum);
    try {
      const run = client.stream("device.run", quantum, { instance: device });
      const handed = { device, at: performance.now(), cancel: () => run.cancel() };
      const report = await this.handed.watch(run.id, handed, run.result);
      this.budgets.landed(mids, quantum.model, report);
      this.landed(handedAt, device, report);
      this.measured(device, report);
      for (const { id, output, problem } of this.queue.report(device, quantum.model, report)) {
        this.queue.remove(id);
        if (output) server.reply(id, output);
        else server.fail(id, new SomaError("EINVAL", problem ?? "the device refused it"));
      }
      // Ended while they ran, or begins anew elsewhere: word of an end may have come to the device before them.
      for (const { seq, finish } of report.seqs) {
        const { device: at, parkedOn } = this.queue.sequences.get(seq) ?? {};
        if (finish === null && at === undefined && parkedOn === undefined)
          void this.forgetting.forget(device, quantum.model, seq);
      }
    } catch (error) {
      if (!isSomaError(error)) return void crash(error);
      this.budgets.landed(mids, quantum.model);
      metrics.count("soma_quanta_lost_total", { device });
      log.warn({ device, code: error.code, quantum: quantum.quantum }, "a quantum was lost: its sequences run again");
      this.queue.lost(device, quantum);
      // Refused, not lost: trying again would be refused again.
      if (error.code === "EINVAL" || error.code === "EPERM")
        for (const { seq } of quantum.seqs) this.refuse(seq, error);
      // It may have run all the same, and what it held may end before it comes there again.
      else for (const { seq } of quantum.seqs) void this.forgetting.forget(device, quantum.model, seq);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.pump();
  }

  /** A span for what each waited since its last quantum, or since it came; returns the time. */
  private waited(mids: readonly string[]): number {
    const now = performance.now();
    for (const mid of mids) {
      const request = this.ctx.server.request(mid);
      if (request?.trace === undefined) continue;
      const since = this.waitingSince.get(request) ?? request.startedAt;
      if (now - since > WAIT_MS) request.trace.add("queue", since, now);
    }
    return now;
  }

  /** Whoever is named with its ids takes its trace to the device. */
  private traced({ seqs }: Handover["quantum"]): void {
    for (const { seq, start } of seqs) {
      const trace = start && this.ctx.server.request(seq)?.trace;
      if (trace?.kept) start!.trace = trace.traceparent;
    }
  }

  private landed(handedAt: number, device: string, { seqs, ms, steps }: Report): void {
    const now = performance.now();
    for (const { seq, computed, newIds } of seqs) {
      const request = this.ctx.server.request(seq);
      if (request?.trace === undefined) continue;
      this.waitingSince.set(request, now);
      const figures = { device, ms, steps, computed, tokens: newIds.length, together: seqs.length };
      request.trace.add("quantum", handedAt, now, figures);
    }
  }

  private measured(device: string, { seqs, ms }: Report): void {
    const { metrics } = this.ctx;
    metrics.observe("soma_quantum_sequences", { device }, seqs.length);
    metrics.observe("soma_quantum_seconds", { device }, ms / 1000);
  }

  private tick(): void {
    void this.budgets.tick().catch(this.ctx.crash);
    const now = performance.now();
    const models = new Set(this.queue.wanting().map(({ input }) => input.model));
    this.absence.keep(models);
    const hopeless = [...models].filter((model) =>
      this.absence.hopeless(model, this.queue.capacity(model) !== undefined, now),
    );
    for (const { id, input } of hopeless.length === 0 ? [] : this.queue.wanting()) {
      if (!hopeless.includes(input.model)) continue;
      const why = `no device has ${input.model}: is it deployed?`;
      this.refuse(id, new SomaError("EAGAIN", why, { retryAfterMs: this.absence.expected(input.model, now) }));
    }
    this.pump();
  }

  private saved = new Map<string, number>();

  private async save(): Promise<void> {
    try {
      for (const account of [...this.queue.accounts.values()]) {
        if (this.saved.get(account.principal) === account.tokens) continue;
        const { tokens } = account;
        await this.stores.clock.put(account.principal, this.queue.accounts.saved(account));
        this.saved.set(account.principal, tokens);
      }
    } catch (error) {
      // Fairness is off by what was computed since, if this instance dies before the store is back.
      if (!isSomaError(error)) this.ctx.crash(error);
    }
  }
}
