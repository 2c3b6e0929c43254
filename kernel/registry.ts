// Owns identities of services: a bootstrap user per start, then one registration that voids the former holder's key.
import { randomBytes } from "node:crypto";
import { SomaError } from "./abi/errors.ts";
import { LIMITS } from "./abi/limits.ts";
import type { Service } from "./abi/names.ts";
import { bootPermissions, type Permissions, servicePermissions } from "./abi/rights.ts";
import type { Input, Output } from "./abi/syscalls.ts";
import type { Bootstrap } from "./ipc/identity.ts";
import { createKey } from "./ipc/nkey.ts";
import type { Authority } from "./keys/authority.ts";
import type { InstanceRecord, Records } from "./records.ts";

export interface RegistryOptions {
  authority: Authority;
  records: Records;
  /** Has the broker take the account as it stands: revocations are in force when it resolves. */
  push: () => Promise<void>;
  url: () => string;
  /** Public key that signs grants, told to every service. */
  grantKey: string;
  /** What only this service gets. */
  secretsOf: (service: Service) => Record<string, string> | undefined;
}

/** The two lists of abi/rights.ts as the broker's rules. */
export const rules = ({ pub, sub }: Permissions) => ({ pub: { allow: pub }, sub: { allow: sub } });

export class Registry {
  constructor(private readonly options: RegistryOptions) {}

  /** A credential for one start of an instance: it may register, once, and ends by itself soon. */
  async issue(instance: string, service: Service, startTimeout: number = LIMITS.startTimeout): Promise<Bootstrap> {
    const { authority, records, url } = this.options;
    const name = `boot-${randomBytes(8).toString("hex")}`;
    const key = createKey("user");
    const jwt = authority.mintActor({
      name,
      publicKey: key.publicKey,
      permissions: rules(bootPermissions(name)),
      expires: Date.now() + startTimeout + 5_000,
    });
    await records.put("instance", instance, { ...this.record(instance), boot: name, state: "starting" });
    return { url: url(), service, name, jwt, seed: key.seed };
  }

  /** Which instance a bootstrap user may become. */
  instanceOf(boot: string): string | undefined {
    return this.options.records.all("instance").find(([, record]) => record.boot === boot)?.[0];
  }

  /** Voids the former key, then gives the next epoch to the new one. EPERM unless `caller` is an unused bootstrap. */
  async register(caller: string, input: Input<"kernel.register">): Promise<Output<"kernel.register">> {
    const { authority, records, push, grantKey, secretsOf } = this.options;
    const instance = this.instanceOf(caller);
    if (instance === undefined || !instance.startsWith(`${input.service}-`)) {
      throw new SomaError(
        "EPERM",
        `"${caller}" is no unused bootstrap of ${input.service}: the kernel starts services`,
      );
    }
    const service = input.service as Service;
    const { boot: _, key: former, ...record } = this.record(instance);
    const epoch = record.epoch + 1;
    // Known as used before anything is awaited, so that a second registration finds nothing.
    const stored = records.put("instance", instance, { epoch, key: input.publicKey, state: "registered" });
    if (former !== undefined) authority.revoke(former);
    // Both are awaited, even where one fails: what nobody awaits ends the kernel.
    await Promise.all([stored, former === undefined ? undefined : push()]);
    const permissions = rules(servicePermissions(service, instance, epoch));
    const jwt = authority.mintActor({ name: instance, publicKey: input.publicKey, permissions });
    const secrets = secretsOf(service);
    return { instance, epoch, jwt, grantKey, ...(secrets === undefined ? {} : { secrets }) };
  }

  /** EPERM unless this is the instance's present epoch. */
  async ready(caller: string, epoch: number): Promise<void> {
    const record = this.record(caller);
    if (record.epoch !== epoch || record.state === "down")
      throw new SomaError("EPERM", `${caller} epoch ${epoch} is over: exit`);
    await this.options.records.put("instance", caller, { ...record, state: "ready" });
  }

  /**
   * Voids keys of apps; the broker drops their connections, and forgets them after `until` (unix ms), when their JWTs end by
   * themselves. Keys of our own actors stay: an app could have handed one on as that of a child, to cut its owner off.
   */
  async revoke(publicKeys: readonly string[], until?: number): Promise<void> {
    const { authority, records, push } = this.options;
    const kernel = records.get("kernel", "kernel");
    const own = new Set([kernel?.key, kernel?.personKey, ...records.all("instance").map(([, { key }]) => key)]);
    const keys = publicKeys.filter((key) => !own.has(key));
    authority.prune();
    authority.revoke(keys, until === undefined ? {} : { until });
    await push();
  }

  /** The epoch is over, unless a successor is on its way already. */
  async down(instance: string, epoch: number): Promise<void> {
    const record = this.record(instance);
    if (record.epoch !== epoch || record.boot !== undefined) return;
    await this.options.records.put("instance", instance, { ...record, state: "down" });
  }

  /** Voids the key of an instance that is out of reach: should it live on, the broker hears it no more. */
  async fence(instance: string): Promise<void> {
    const { key } = this.record(instance);
    if (key === undefined) return;
    this.options.authority.revoke(key);
    await this.options.push();
  }

  /** Whether this is the instance's present epoch, and it has not ended. */
  runs(instance: string, epoch: number): boolean {
    const { epoch: present, state } = this.record(instance);
    return present === epoch && (state === "registered" || state === "ready");
  }

  get grantKey(): string {
    return this.options.grantKey;
  }

  record(instance: string): InstanceRecord {
    return this.options.records.get("instance", instance) ?? { epoch: 0, state: "down" };
  }
}
