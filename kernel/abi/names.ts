// Owns who is who: services, instances, roles, and which names nobody may take.
import { SomaError } from "./errors.ts";
import { NAME } from "./limits.ts";

/** Boot order. `kernel` is an actor too, but starts the others. */
export const SERVICES = ["auth", "memory", "device", "scheduler", "model"] as const;
export type Service = (typeof SERVICES)[number];
/** Everyone that serves calls. */
export type Owner = Service | "kernel";

/** The person at the shell. */
export const PERSON = "person";

/** Who a caller is, by its authenticated name alone. */
export type Role = "kernel" | "service" | "person" | "boot" | "app";

/**
 * Instances of a service are numbered from 1 to this. The broker denies each of their names to the role of apps, one by one,
 * so a name beyond them must be no more than an app's: else whoever stole that role's key could take it and pass for a service.
 */
export const MOST_INSTANCES = 16;

const INSTANCE = new RegExp(`^(${SERVICES.join("|")})-([1-9][0-9]?)$`);
/** Looks like one of ours, whether or not it is. */
const OURS = new RegExp(`^(${[...SERVICES, PERSON].join("|")})-`);

/** `device-3` of service `device`. */
export function instanceName(service: Service, number: number): string {
  return `${service}-${number}`;
}

export function serviceOf(instance: string): Service | undefined {
  const [, service, number] = INSTANCE.exec(instance) ?? [];
  return Number(number) <= MOST_INSTANCES ? (service as Service) : undefined;
}

export function roleOf(caller: string): Role {
  if (caller === "kernel") return "kernel";
  if (serviceOf(caller) !== undefined) return "service";
  if (caller === PERSON) return "person";
  if (caller.startsWith("boot-")) return "boot";
  return "app";
}

const RESERVED = new Set<string>([
  ...SERVICES,
  "kernel",
  "launcher",
  "broker",
  "any",
  "all",
  "sys",
  "evt",
  "hb",
  PERSON,
]);

/** Throws EINVAL unless an app may be called `name`. Checked before anything is minted. */
export function checkAppName(name: string): string {
  if (!NAME.test(name)) {
    throw new SomaError("EINVAL", `"${name}" is no name: use 1 to 32 of a-z, 0-9 and "-"`);
  }
  if (RESERVED.has(name) || OURS.test(name) || roleOf(name) !== "app") {
    throw new SomaError("EINVAL", `"${name}" is reserved: choose another name`);
  }
  return name;
}
