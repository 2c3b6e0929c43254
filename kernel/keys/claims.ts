// Owns what the broker reads in our JWTs: limits, permissions, roles. Pure data.

/** Subjects, with the broker's wildcards. An absent or empty `allow` is everything that `deny` leaves. */
export interface Rule {
  allow?: readonly string[];
  deny?: readonly string[];
}

export interface Permissions {
  pub: Rule;
  sub: Rule;
}

export interface UserLimits {
  /** Subscriptions of one connection; -1: no limit. */
  subs?: number;
  /** Bytes of one message; -1: what the broker allows. */
  payload?: number;
}

/** What every user of a scoped signing key gets. Subjects may hold whole tokens `{{name()}}` and `{{tag(x)}}`. */
export interface RoleTemplate extends UserLimits {
  permissions: Permissions;
}

/** Bytes that the account may hold in JetStream. */
export interface StorageLimits {
  disk: number;
  memory: number;
}

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: 0 };

/** The system account: no JetStream, or the server refuses it. */
export const SYSTEM_LIMITS = UNLIMITED;

/** The broker needs every JetStream limit named: what is absent counts as 0. */
export function accountLimits({ disk, memory }: StorageLimits) {
  return { ...UNLIMITED, disk_storage: disk, mem_storage: memory, streams: -1, consumer: -1 };
}

/** The permission part of a user or a role. `data` is not enforced by the broker, so it stays unlimited. */
export function userClaims({ pub, sub }: Permissions, { subs = -1, payload = -1 }: UserLimits) {
  return { pub, sub, subs, data: -1, payload };
}

export function roleClaims(role: string, publicKey: string, template: RoleTemplate) {
  return { kind: "user_scope", key: publicKey, role, template: userClaims(template.permissions, template) };
}
