// Owns foresight at the door: how many of a kind can be done in good time at the pace of the last ones, so that who comes too late is told at once.

/** Below so many of a kind nobody is turned away. */
const CROWD = 32;
/** Ends that the pace is read from; with fewer than `FEW` it is unknown, and with fewer running it is the callers' pace, not ours. */
const LAST = 32;
const FEW = 8;
/** The wait before one begins may take this share of its deadline: a longer queue brings no more done, and costs all that are in it. */
const SHARE = 1 / 4;

interface Kind {
  running: number;
  /** When the last ones ended well, oldest first. */
  ends: number[];
}

export class Pace {
  private readonly kinds = new Map<string, Kind>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  began(call: string, ttl: number): void {
    const kind = this.kind(call, ttl);
    if (kind.running < FEW) kind.ends.length = 0;
    kind.running += 1;
  }

  ended(call: string, ttl: number, well: boolean): void {
    const kind = this.kind(call, ttl);
    kind.running -= 1;
    if (!well) return;
    kind.ends.push(this.now());
    if (kind.ends.length > LAST) kind.ends.shift();
  }

  /**
   * Whether one more of this call, to be done within `ttl` ms, would wait too long behind those that run. Who has less than
   * the share of one caller of `callers` comes in nevertheless: a flood is its makers' own loss.
   */
  late(call: string, ttl: number, mine: number, callers: number): boolean {
    const { running, ends } = this.kind(call, ttl);
    if (running < CROWD || ends.length < FEW) return false;
    const inTime = this.room(call, ttl);
    return running >= inTime && mine + 1 > inTime / callers;
  }

  /** How many of this call can run and all begin in good time. */
  room(call: string, ttl: number): number {
    const { ends } = this.kind(call, ttl);
    // Also when nothing ends any more the pace falls.
    return ends.length < FEW ? CROWD : Math.max(CROWD, (ends.length * SHARE * ttl) / (this.now() - ends[0]!));
  }

  /** Those of a like deadline are like: minutes of text and a word within a second are not counted together. */
  private kind(call: string, ttl: number): Kind {
    const name = `${call} ${Math.min(31, Math.round(Math.log2(ttl)))}`;
    let kind = this.kinds.get(name);
    if (kind === undefined) this.kinds.set(name, (kind = { running: 0, ends: [] }));
    return kind;
  }
}
