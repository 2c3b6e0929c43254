// Owns the quanta that devices have not answered: one whose word or report was lost is given up when its device says that it has none.

/** What is known of a quantum that was handed over. */
interface Open {
  device: string;
  at: number;
  cancel: () => void;
}

/** An announcement may have crossed with a quantum that is younger, ms. */
const CROSSING_MS = 2_000;

export class Handed {
  private readonly open = new Map<string, Open>();

  /** `id`: of the request; `cancel` makes it fail. Until `result` has settled. */
  async watch<T>(id: string, quantum: Open, result: Promise<T>): Promise<T> {
    this.open.set(id, quantum);
    try {
      return await result;
    } finally {
      this.open.delete(id);
    }
  }

  /** A device tells which requests it has still to answer. Without this the quantum would hold its place there until its deadline. */
  heard(device: string, unanswered: readonly string[], now: number): void {
    for (const [id, quantum] of this.open)
      if (quantum.device === device && now - quantum.at > CROSSING_MS && !unanswered.includes(id)) quantum.cancel();
  }
}
