// Owns the table of drivers, best first, and which of them this host can use.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Driver } from "./driver.ts";
import { native } from "./native.ts";
import { wasm } from "./wasm/driver.ts";

export interface DriverRow {
  driver: string;
  ok: boolean;
  /** Why it works or not, in one line. */
  why: string;
  /** It is the one used when nobody names another. */
  chosen: boolean;
}

/**
 * Best first. wasm leads although a GPU may be there: it runs more families, keeps KV and int8, and the others have not been
 * measured. Who wants one of them names it in device.load.
 */
export const DRIVERS: readonly Driver[] = [
  wasm,
  native("tfjs-node-gpu", "@tensorflow/tfjs-node-gpu"),
  native("tfjs-node", "@tensorflow/tfjs-node"),
];

/** Probes each; one that fails, or throws, is only said to be unusable. */
export function probeDrivers(drivers: readonly Driver[] = DRIVERS): DriverRow[] {
  const rows = drivers.map((driver) => ({ driver: driver.name, chosen: false, ...probe(driver) }));
  const best = rows.find(({ ok }) => ok);
  if (best) best.chosen = true;
  return rows;
}

function probe(driver: Driver): { ok: boolean; why: string } {
  try {
    return driver.probe();
  } catch (error) {
    return { ok: false, why: (error as Error).message };
  }
}

/** The driver of that name, or the chosen one. EINVAL when there is none of that name, ENOSYS when it does not work here. */
export function pickDriver(rows: readonly DriverRow[], name: string | undefined, drivers = DRIVERS): Driver {
  const row = rows.find((row) => (name === undefined ? row.chosen : row.driver === name));
  if (row === undefined) {
    const names = rows.map(({ driver }) => driver).join(", ");
    if (name !== undefined) throw new SomaError("EINVAL", `no driver "${name}": use one of ${names}`);
    throw new SomaError("ENOSYS", `no driver works on this host: see "soma device ls"`);
  }
  if (!row.ok) throw new SomaError("ENOSYS", `driver ${row.driver} does not work here: ${row.why}`);
  return drivers.find((driver) => driver.name === row.driver)!;
}
