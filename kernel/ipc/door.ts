// Owns what is decided about a request before any of its work is done: who may come in, when there is room, and for whom it then acts.
// From the subject and the headers alone until it is let in: turning away must cost next to nothing, or a flood stops all else.
import { SomaError } from "../abi/errors.ts";
import { HEADERS, type Principal } from "../abi/headers.ts";
import { ABI, LIMITS } from "../abi/limits.ts";
import { type Owner, type Role, roleOf } from "../abi/names.ts";
import { MAY, type Syscall } from "../abi/syscall.ts";
import { syscall } from "../abi/syscalls.ts";
import type { Message } from "./bus.ts";
import { Pace } from "./pace.ts";
import type { Request } from "./request.ts";

export interface DoorOptions {
  owner: Owner;
  /** Checks an app's grant; throws EPERM or EDQUOT. Called for apps only, with the parsed input. */
  authorize?: (caller: string, name: string, input: unknown) => Principal;
  mailbox?: number;
  mailboxPerCaller?: number;
}

/** There and back to the broker on the connection that brings requests: it comes behind all that waits to be read. */
export type Sound = () => Promise<void>;

/** Who stands at the door. */
export interface Visitor {
  caller: string;
  role: Role;
  call: string;
  entry: Syscall;
  /** ms, Infinity for none. */
  ttl: number;
}

/**
 * How often the loop shows that it turns, and its depth is sounded; when either is so late, ms, and so many requests run, apps and
 * people are turned away but those who have less than their share of so many: one who floods takes nothing from others. Turns
 * alone do not tell: they may be short while much waits to be read.
 */
const TURN = 25;
const BEHIND = 25;
const CROWD = 32;
/** ms after which to come again: so long for each of the caller's that is turned away per one that is let in, lately, and at most. */
const AFTER = 100;
const AFTER_MOST = 5_000;
/** What "lately" is: the counts are halved so often. */
const LATELY = 1_000;

export class Door {
  private readonly pace = new Pace();
  private readonly perCaller = new Map<string, number>();
  private running = 0;
  private turnedAt = performance.now();
  private turning: NodeJS.Timeout | undefined;
  private halvedAt = performance.now();
  /** Of each caller, lately. */
  private readonly counts = new Map<string, { entered: number; away: number }>();
  /** When the sounding that is under way began; how long the last one took, ms. */
  private soundedAt: number | undefined;
  private depth = 0;

  constructor(
    private readonly options: DoorOptions,
    private readonly sound: Sound = async () => {},
  ) {}

  open(): void {
    this.turnedAt = performance.now();
    this.turning = setInterval(() => this.turn(performance.now()), TURN).unref();
  }

  close(): void {
    clearInterval(this.turning);
  }

  /** How many requests of this caller run. */
  runningOf(caller: string): number {
    return this.perCaller.get(caller) ?? 0;
  }

  /** Who that is; ENOSYS, EPERM, or EINVAL for another abi. */
  meet(message: Message, caller: string, call: string): Visitor {
    const { owner } = this.options;
    const entry = syscall(owner, call);
    if (entry === undefined) throw new SomaError("ENOSYS", `${owner} has no call "${call}": see docs/syscalls.md`);
    const role = roleOf(caller);
    if (!MAY[entry.right].includes(role)) {
      const who = MAY[entry.right].join(", ");
      throw new SomaError("EPERM", `${owner}.${call} is for ${who}, and "${caller}" is ${role}`);
    }
    const abi = message.header(HEADERS.abi);
    if (abi !== "" && Number(abi) !== ABI) {
      throw new SomaError("EINVAL", `the caller speaks abi ${abi}, this system ${ABI}: use the same version of Soma`);
    }
    const ttl = message.header(HEADERS.ttl);
    return { caller, role, call, entry, ttl: ttl === "" ? Number.POSITIVE_INFINITY : Number(ttl) };
  }

  /** undefined if there is room; else after how many ms to come again. */
  full({ caller, role, call, ttl }: Visitor): number | undefined {
    const { mailbox = LIMITS.mailbox, mailboxPerCaller = LIMITS.mailboxPerCaller } = this.options;
    const outside = role !== "service" && role !== "kernel";
    const mine = this.runningOf(caller);
    const callers = this.perCaller.size + (mine === 0 ? 1 : 0);
    // Whatever is offered, the beats and replies of what runs get their turn: a flood must not look like a hang.
    const crowded = () => this.running >= CROWD && mine + 1 > this.pace.room(call, ttl) / callers;
    const behind = () => crowded() && this.behindMs() > BEHIND;
    const late = () => this.pace.late(call, ttl, mine, callers);
    const greedy = role === "app" && mine >= mailboxPerCaller;
    const lately = this.lately(caller);
    if (this.running < mailbox && !greedy && !(outside && (behind() || late()))) {
      lately.entered += 1;
      return undefined;
    }
    lately.away += 1;
    // In whole steps, so that there are few different answers.
    return Math.min(AFTER_MOST, AFTER * Math.max(1, Math.round(lately.away / Math.max(1, lately.entered))));
  }

  private lately(caller: string): { entered: number; away: number } {
    let counts = this.counts.get(caller);
    if (counts === undefined) this.counts.set(caller, (counts = { entered: 0, away: 0 }));
    return counts;
  }

  /** For whom it acts; EPERM, EDQUOT or EINVAL. */
  principal(header: string, { caller, role, call }: Visitor, input: unknown): Principal {
    const { owner, authorize } = this.options;
    if (header !== "") {
      if (role !== "service" && role !== "kernel") throw new SomaError("EPERM", `"${caller}" may not act for others`);
      const parsed = safeJson(header) as Principal | undefined;
      if (typeof parsed?.principal !== "string")
        throw new SomaError("EINVAL", 'header "for" must be {principal, grant?, revision?}');
      return parsed;
    }
    return role === "app" && authorize ? authorize(caller, `${owner}.${call}`, input) : { principal: caller };
  }

  began({ caller, call, ttl }: Request): void {
    this.running += 1;
    this.perCaller.set(caller, this.runningOf(caller) + 1);
    this.pace.began(call, ttl);
  }

  ended({ caller, call, ttl }: Request, well: boolean): void {
    this.running -= 1;
    this.pace.ended(call, ttl, well);
    const left = this.runningOf(caller) - 1;
    if (left > 0) this.perCaller.set(caller, left);
    else this.perCaller.delete(caller);
  }

  private async measure(now: number): Promise<void> {
    this.soundedAt = now;
    try {
      await this.sound();
      this.depth = performance.now() - now;
    } catch {
      // The connection went away, and with it all that waited.
      this.depth = 0;
    } finally {
      this.soundedAt = undefined;
    }
  }

  private behindMs(): number {
    const now = performance.now();
    return Math.max(now - this.turnedAt - TURN, now - (this.soundedAt ?? now), this.depth);
  }

  private turn(now: number): void {
    this.turnedAt = now;
    if (this.running < CROWD) this.depth = 0;
    else if (this.soundedAt === undefined) void this.measure(now);
    if (now - this.halvedAt < LATELY) return;
    this.halvedAt = now;
    for (const [caller, { entered, away }] of this.counts) {
      if (entered + away < 1) this.counts.delete(caller);
      else this.counts.set(caller, { entered: entered / 2, away: away / 2 });
    }
  }
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
