// Owns who is who: services, instances, roles, and which names nobody may take.
import { SomaError } from "./errors.ts";
import { NAME } from "./limits.ts";

/** Boot order. `kernel` is an actor too, but starts the others. */
export const SERVICES = ["auth", "memory", "device", "scheduler", "model"] as const;
export type Service = (typeof SERVICES)[number];
/** Everyone that serves calls. */
export type Owner = Service | "kernel";

/** The person at the shell; further ones are `person-<name>`. */
export const PERSON = "person";

/** Who a caller is, by its authenticated name alone. */
export type Role = "kernel" | "service" | "person" | "boot" | "app";

const INSTANCE = new RegExp(`^(${SERVICES.join("|")})-[0-9]{1,6}$`);

/** `device-3` of service `device`. */
export function instanceName(service: Service, number: number): string {
  return `${service}-${number}`;
}

export function serviceOf(instance: string): Service | undefined {
  return INSTANCE.exec(instance)?.[1] as Service | undefined;
}

export function roleOf(caller: string): Role {
  if (caller === "kernel") return "kernel";
  if (serviceOf(caller) !== undefined) return "service";
  if (caller === PERSON || caller.startsWith(`${PERSON}-`)) return "person";
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
  if (RESERVED.has(name) || roleOf(name) !== "app") {
    throw new SomaError("EINVAL", `"${name}" is reserved: choose another name`);
  }
  return name;
}
