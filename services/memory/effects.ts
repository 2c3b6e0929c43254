// Owns what memory hears and asks of devices: their events, their ends, their own word on what they hold.
import { z } from "zod";
import { tryDecode } from "../../kernel/abi/codec.ts";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import { device, loadedRow } from "../../kernel/abi/syscalls/device.ts";
import type { Bus, Message } from "../../kernel/ipc/bus.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Log } from "../../kernel/ipc/log.ts";
import type { Report } from "./budget.ts";
import type { MemoryEvent } from "./machine.ts";

/** A device that does not answer within this is left to report by itself. */
const ASK_MS = 2_000;

const reportOf: z.ZodType<Report> = device.list.output.pick({ device: true, budgetBytes: true }).extend({
  models: z.array(loadedRow.pick({ model: true, weightBytes: true, kvBytes: true })),
  epoch: z.number().optional(),
});

export interface EffectsOptions {
  bus: Bus;
  client: Client;
  log: Log;
  send: (event: MemoryEvent) => void;
}

export class Effects {
  private readonly asking = new Set<string>();

  constructor(private readonly options: EffectsOptions) {}

  /** Hears what devices announce and which go down. */
  listen(): void {
    const { bus, send, log } = this.options;
    bus.subscribe("evt.*.device", (message) => {
      const parsed = reportOf.safeParse(tryDecode(message.data));
      // Only the device itself may publish under its name; what it says of another is ignored.
      if (parsed.success && parsed.data.device === actorOf(message)) send({ type: "report", report: parsed.data });
      else log.warn({ device: actorOf(message) }, "a device reported what nobody understands");
    });
    bus.subscribe("evt.kernel.down.device.*.*", ({ subject }) =>
      send({ type: "down", device: subject.split(".")[4]! }),
    );
    bus.on((event) => {
      // Reports and ends were missed meanwhile.
      if (event.type === "back") void this.survey();
    });
  }

  /** Asks every device that runs. */
  async survey(): Promise<void> {
    try {
      const { processes } = await this.options.client.call("kernel.ps", {});
      // One that starts or has ended holds nothing yet; it reports when it is ready.
      const up = processes.filter(({ state }) => state === "ready" || state === "suspect");
      const devices = up.map(({ id }) => id).filter((id) => serviceOf(id) === "device");
      this.options.send({ type: "running", devices });
      await Promise.all(devices.map((device) => this.ask(device)));
    } catch (error) {
      if (!isSomaError(error)) throw error;
      this.options.log.warn(
        { code: error.code },
        "the kernel did not say which devices run: waiting for their reports",
      );
    }
  }

  /** Asks one device, once at a time. */
  async ask(device: string): Promise<void> {
    if (this.asking.has(device) || serviceOf(device) !== "device") return;
    this.asking.add(device);
    try {
      const report = await this.options.client.call("device.list", {}, { instance: device, ttl: ASK_MS, retry: false });
      this.options.send({ type: "report", report });
    } catch (error) {
      if (!isSomaError(error)) throw error;
      this.options.log.warn({ device, code: error.code }, "a device did not say what it holds: waiting for its report");
    } finally {
      this.asking.delete(device);
    }
  }
}

function actorOf({ subject }: Message): string {
  return subject.split(".")[1]!;
}
