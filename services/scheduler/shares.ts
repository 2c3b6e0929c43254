// Owns virtual time: what each principal got for its weight. Who comes back after a pause starts level with who is active.

export interface Share {
  principal: string;
  weight: number;
  tokens: number;
  virtualTime: number;
}

export class Shares {
  private readonly shares = new Map<string, Share>();

  /** A principal has something to run; `active`: those that have, besides. */
  enter(principal: string, active: Iterable<string>): void {
    const share = this.share(principal);
    let least = Number.POSITIVE_INFINITY;
    for (const other of active) if (other !== principal) least = Math.min(least, this.share(other).virtualTime);
    // Idle time earns nothing.
    if (least < Number.POSITIVE_INFINITY) share.virtualTime = Math.max(share.virtualTime, least);
  }

  charge(principal: string, tokens: number): void {
    const share = this.share(principal);
    share.tokens += tokens;
    share.virtualTime += tokens / share.weight;
  }

  time = (principal: string): number => this.share(principal).virtualTime;

  all(): Share[] {
    return [...this.shares.values()];
  }

  restore(shares: readonly Share[]): void {
    for (const share of shares) this.shares.set(share.principal, { ...share });
  }

  private share(principal: string): Share {
    let share = this.shares.get(principal);
    if (share === undefined) {
      share = { principal, weight: 1, tokens: 0, virtualTime: 0 };
      this.shares.set(principal, share);
    }
    return share;
  }
}
