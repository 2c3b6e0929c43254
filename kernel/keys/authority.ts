// Owns the root of trust: operator, system account, the account SOMA, its signing keys, its roles and revocations.

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { SomaError } from "../abi/errors.ts";
import { NAME } from "../abi/limits.ts";
import { checkAppName, roleOf } from "../abi/names.ts";
import { type Credential, decode, mint } from "../ipc/jwt.ts";
import { createKey, type KeyPair, publicKeyKind } from "../ipc/nkey.ts";
import { readText, replaceText } from "../launcher/file.ts";
import {
  accountLimits,
  type Permissions,
  type RoleTemplate,
  roleClaims,
  type StorageLimits,
  SYSTEM_LIMITS,
  type UserLimits,
  userClaims,
} from "./claims.ts";
import { keptKey } from "./kept.ts";

export interface UserSpec extends UserLimits {
  /** The caller token of all the user's subjects. */
  name: string;
  /** U..., made by the process that will connect; its seed never travels. */
  publicKey: string;
  permissions: Permissions;
  /** Unix ms, rounded down to seconds; the broker closes the connection then. Absent: for ever. */
  expires?: number;
}

/** Sends a request as a system user and gives the answer's body. */
export type Request = (subject: string, body: Uint8Array) => Promise<Uint8Array>;

/** Public key -> when it was revoked and, if known, when its last JWT ends by itself (unix seconds). */
type Revocations = Record<string, { at: number; until?: number }>;

interface State {
  jwt: string;
  revocations: Revocations;
  roles: Record<string, RoleTemplate>;
}

export interface AuthorityOptions {
  storage: StorageLimits;
  /** Unix ms. */
  now?: () => number;
  /**
   * Where several kernels share the directory: whether we are the one that writes. Who is not keeps changes to itself; ask
   * `reread` when that changes. Default: there is no other.
   */
  owned?: () => boolean;
}

const seconds = (ms: number) => Math.floor(ms / 1000);

/**
 * One process writes: the kernel, of several the one that holds the lease (tenure.ts). The launcher opens it too, reads what the broker's configuration needs and closes;
 * it reads afresh at each start of the broker, so that revocations survive.
 */
export class Authority {
  readonly operatorJwt: string;
  readonly systemAccount: string;
  readonly systemAccountJwt: string;
  readonly account: string;
  #operator: KeyPair;
  #system: KeyPair;
  #app: KeyPair;
  #signer: KeyPair;
  #state: State = { jwt: "", revocations: {}, roles: {} };
  /** Text of account.json. */
  #written: string | undefined;
  #pushing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  readonly #now: () => number;
  readonly #owned: () => boolean;

  /** Opens the keys in `directory` and makes what is missing. */
  constructor(
    private readonly directory: string,
    private readonly options: AuthorityOptions,
  ) {
    this.#now = options.now ?? Date.now;
    this.#owned = options.owned ?? (() => true);
    this.#operator = keptKey(directory, "operator", "operator");
    this.#system = keptKey(directory, "system", "account");
    this.#app = keptKey(directory, "account", "account");
    this.#signer = keptKey(directory, "signer", "account");
    this.systemAccount = this.#system.publicKey;
    this.account = this.#app.publicKey;
    // iat 0: the same JWT at each start, which nothing has to replace.
    const operator = {
      name: "soma",
      sub: this.#operator.publicKey,
      iat: 0,
      nats: { system_account: this.systemAccount },
    };
    this.operatorJwt = mint("operator", operator, this.#operator);
    const system = { name: "SYS", sub: this.systemAccount, iat: 0, nats: { limits: SYSTEM_LIMITS } };
    this.systemAccountJwt = mint("account", system, this.#operator);
    this.reread();
  }

  /** Takes the account as it lies in the directory, written by another kernel meanwhile. */
  reread(): void {
    this.#written = readText(this.#path);
    if (this.#written !== undefined) this.#state = JSON.parse(this.#written);
    this.#save();
  }

  get #path(): string {
    return join(this.directory, "account.json");
  }

  /** The account as it stands, with all revocations and roles. */
  accountJwt(): string {
    return this.#state.jwt;
  }

  /** A new user of the system account: may push account JWTs and see who connects. Never hand it out. */
  systemUser(): Credential {
    const key = createKey("user");
    const nats = userClaims({ pub: {}, sub: {} }, {});
    const claims = { name: "kernel-system", sub: key.publicKey, iat: seconds(this.#now()), nats };
    return { name: claims.name, key, jwt: mint("user", claims, this.#system) };
  }

  /** A JWT for an app's key. EINVAL for a bad or reserved name, or a key that is no user's. */
  mintUser(spec: UserSpec): string {
    checkAppName(spec.name);
    return this.#mint(spec);
  }

  /** The same for the system's own actors: the kernel, instances of services, persons and processes that boot. */
  mintActor(spec: UserSpec): string {
    if (!NAME.test(spec.name) || roleOf(spec.name) === "app") {
      throw new SomaError("EINVAL", `"${spec.name}" is no actor of the system: mint it as an app`);
    }
    return this.#mint(spec);
  }

  #mint({ name, publicKey, permissions, expires, ...limits }: UserSpec): string {
    if (publicKeyKind(publicKey) !== "user") throw new SomaError("EINVAL", `${publicKey} is no user's key: send U...`);
    const exp = expires === undefined ? {} : { exp: seconds(expires) };
    const nats = { ...userClaims(permissions, limits), issuer_account: this.account };
    return mint("user", { name, sub: publicKey, iat: seconds(this.#now()), ...exp, nats }, this.#signer);
  }

  /**
   * A signing key whose users get exactly `template`: kept under `role`, in force after the next push. A changed
   * template disconnects that role's users; they come back with the new rights.
   */
  role(role: string, template: RoleTemplate): KeyPair {
    if (!NAME.test(role)) throw new SomaError("EINVAL", `"${role}" is no role: use 1 to 32 of a-z, 0-9 and "-"`);
    const key = keptKey(this.directory, `role-${role}`, "account");
    this.#state.roles[role] = template;
    this.#save();
    return key;
  }

  /**
   * Voids every JWT minted for these keys up to `at` (unix ms, default now), in force after the next push. `until`
   * (unix ms) says when they would have ended anyway, so that `prune` may forget them; without it they are kept.
   */
  revoke(
    publicKeys: string | readonly string[],
    { at = this.#now(), until }: { at?: number; until?: number } = {},
  ): void {
    for (const key of typeof publicKeys === "string" ? [publicKeys] : publicKeys) {
      if (publicKeyKind(key) !== "user") throw new SomaError("EINVAL", `${key} is no user's key: send U...`);
      this.#state.revocations[key] = { at: seconds(at), ...(until === undefined ? {} : { until: seconds(until) + 1 }) };
    }
    this.#save();
  }

  /** Forgets revocations of JWTs that have ended by themselves; gives their number. */
  prune(): number {
    const kept = Object.entries(this.#state.revocations).filter(
      ([, { until }]) => until === undefined || until > seconds(this.#now()),
    );
    const dropped = Object.keys(this.#state.revocations).length - kept.length;
    if (dropped > 0) {
      this.#state.revocations = Object.fromEntries(kept);
      this.#save();
    }
    return dropped;
  }

  /**
   * Tells the running broker the account as it stands; resolves when it took a JWT at least that new. Call it after
   * `role`, `revoke` and `prune`, and whenever the broker came back. Concurrent calls share one request.
   */
  async push(request: Request): Promise<void> {
    if (!this.#pushing) {
      this.#pushing = this.#send(request).finally(() => (this.#pushing = undefined));
      return this.#pushing;
    }
    // One is on its way, perhaps with older claims: all that come meanwhile share the one after it.
    this.#next ??= this.#pushing
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.push(request);
      });
    return this.#next;
  }

  async #send(request: Request): Promise<void> {
    // Our system user stays valid whoever is the kernel, and the broker takes an older account for a newer one.
    if (!this.#owned()) throw new SomaError("EIO", "another kernel may have taken over: the account was not sent");
    // What was changed in a moment of doubt.
    this.#save();
    const answer = Buffer.from(await request("$SYS.REQ.CLAIMS.UPDATE", Buffer.from(this.#state.jwt))).toString();
    const { data, error } = JSON.parse(answer) as { data?: { code: number }; error?: { description: string } };
    if (data?.code !== 200)
      throw new SomaError("EIO", `the broker refused the account: ${error?.description ?? answer}`);
  }

  /** Mints the account anew if anything in it changed. `iat` never steps back, or the broker would keep the older one. */
  #save(): void {
    const { jwt, revocations, roles } = this.#state;
    const nats = {
      limits: accountLimits(this.options.storage),
      signing_keys: [
        this.#signer.publicKey,
        ...Object.entries(roles).map(([role, template]) =>
          roleClaims(role, keptKey(this.directory, `role-${role}`, "account").publicKey, template),
        ),
      ],
      revocations: Object.fromEntries(Object.entries(revocations).map(([key, { at }]) => [key, at])),
    };
    const before = jwt === "" ? undefined : decode(jwt);
    const same = isDeepStrictEqual(before?.nats, JSON.parse(JSON.stringify({ ...nats, type: "account", version: 2 })));
    if (!same || before?.iss !== this.#operator.publicKey || before.sub !== this.account) {
      const iat = Math.max(seconds(this.#now()), before?.iat ?? 0);
      this.#state.jwt = mint("account", { name: "SOMA", sub: this.account, iat, nats }, this.#operator);
    }
    const text = JSON.stringify(this.#state);
    if (text === this.#written || !this.#owned()) return;
    replaceText(this.#path, text);
    this.#written = text;
  }
}
