// Owns which devices train, and tells them to hold that: by leases, so that training outlives a scheduler that dies.
import { Background } from "./background.ts";

/** ms that a device holds its trainings unless told again, and after how many it is. */
const LEASE_MS = 2_000;
const RENEW_MS = 1_000;

export class Holds {
  private readonly background = new Background();
  /** Device -> until when it was told to hold, on our clock; 0: it was let go. */
  private readonly devices = new Map<string, number>();

  /** `tell` has a device hold its trainings for so many ms, 0: let them go on. It may fail: then it is told again soon. */
  constructor(private readonly tell: (device: string, ms: number) => void) {}

  /** A device says whether it trains. */
  heard(device: string, trains: boolean): void {
    if (!trains) this.devices.delete(device);
    else if (!this.devices.has(device)) this.devices.set(device, 0);
  }

  down(device: string): void {
    this.devices.delete(device);
  }

  /** To be called when somebody comes, and every now and then. `busy`: some sequence waits or runs. */
  update(busy: boolean, now: number): void {
    const hold = this.background.hold(busy, now);
    for (const [device, until] of this.devices) {
      if (hold ? until - now > LEASE_MS - RENEW_MS : until === 0) continue;
      this.devices.set(device, hold ? now + LEASE_MS : 0);
      this.tell(device, hold ? LEASE_MS : 0);
    }
  }
}
