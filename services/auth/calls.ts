// Owns the table from auth's calls to its registrar, its apps and its ledger; what the broker must hear of goes to the machine.
import type { Actor } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import { roleOf } from "../../kernel/abi/names.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Grant } from "../../kernel/ipc/grants.ts";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import { LEASE_MS } from "./account.ts";
import { type Apps, isApproved } from "./apps.ts";
import { grantOf, type Ledger } from "./ledger.ts";
import type { authMachine } from "./machine.ts";
import { noGrant, type Registrar, type Revocation } from "./registrar.ts";
import { family } from "./tree.ts";

export interface Parts {
  registrar: Registrar;
  apps: Apps;
  ledger: Ledger;
  client: Pick<Client, "call">;
  machine: Pick<Actor<typeof authMachine>, "send">;
}

export function calls({ registrar, apps, ledger, client, machine }: Parts): Handlers<"auth"> {
  /** Has the broker drop the keys; `mid` is answered then. */
  const drop = (revocations: Revocation[], mid: string, output: unknown): typeof DEFER => {
    const waiting = revocations.map(({ id, publicKeys, until }) => ({ id, publicKeys, until }));
    // All in one go, so whichever carries the answer will do.
    machine.send({ type: "revoke", revocations: waiting.map((one, i) => (i === 0 ? { ...one, mid, output } : one)) });
    return DEFER;
  };
  return {
    admit: async ({ app, holder, publicKey }) => {
      const { calls: needs, models } = apps.admitted(app);
      return registrar.admit(app, holder, publicKey, needs, models === undefined ? {} : { models });
    },
    install: async ({ app: name, needs, models, approve }) => {
      const asked = { calls: needs, ...(models === undefined ? {} : { models }) };
      const { app, added } = await apps.install(name, asked, approve);
      return { app: name, needs: app.needs.calls, approved: isApproved(app), added };
    },
    approve: async ({ app }) => ({ app, calls: (await apps.approve(app)).needs.calls }),
    // Answered once what it replaces is gone at the broker as well.
    grant: async ({ holder, publicKey, ...wanted }, { mid }) => {
      const { credential, replaced } = await registrar.give(holder, publicKey, wanted);
      return replaced === undefined ? credential : drop([replaced], mid, credential);
    },
    derive: ({ holder, publicKey, ...wanted }, { caller }) => registrar.derive(caller, holder, publicKey, wanted),
    revoke: async ({ id, holder }, { mid, caller }) => {
      const grant = find(registrar, caller, id, holder);
      if (grant !== undefined) checkMayRevoke(registrar, caller, grant);
      const revocation = grant && (await registrar.revoke(grant.id));
      if (revocation === undefined) return { revoked: [] };
      return drop([revocation], mid, { revoked: revocation.grants.map((gone) => gone.id) });
    },
    apps: () => ({
      apps: apps.all().map(([name, app]) => ({ app: name, needs: app.needs.calls, approved: isApproved(app) })),
      grants: registrar.all(),
      budgets: registrar
        .all()
        .flatMap((grant) =>
          ledger.rows(grant.id, registrar.limits(grant)).map((row) => ({ holder: grant.holder, ...row })),
        ),
    }),
    // The app's record goes last, so that whoever was cut short may ask again.
    forget: async ({ app }, { mid }) => {
      const revocations: Revocation[] = [];
      for (const { id } of registrar.all().filter((grant) => grant.app === app)) {
        const revocation = await registrar.revoke(id);
        if (revocation) revocations.push(revocation);
      }
      const { deleted } = await client.call("memory.wipe", { namespace: app });
      await apps.forget(app);
      const revoked = revocations.flatMap(({ grants }) => grants.map(({ id }) => id));
      return revocations.length === 0 ? { revoked, deleted } : drop(revocations, mid, { revoked, deleted });
    },
    whoami: (_input, { caller }) => ({ caller, role: roleOf(caller), grant: registrar.of(caller) ?? null }),
    credential: ({ publicKey }) => registrar.credential(publicKey),
    reserve: async ({ holder, lease: name, tokens, deviceMs, least }) => {
      const grant = registrar.of(holder);
      if (grant === undefined && roleOf(holder) === "app") throw noGrant(holder);
      const limits = grant === undefined ? {} : registrar.limits(grant);
      // Whoever has no budget needs no lease.
      if (grant === undefined || Object.keys(limits).length === 0) return { lease: "", tokens, deviceMs, expiresMs: 0 };
      const id = `${grant.id}.${name}`;
      const lease = await ledger.reserve(id, holder, limits, { tokens, deviceMs }, least);
      return { lease: id, tokens: lease.tokens, deviceMs: lease.deviceMs, expiresMs: LEASE_MS };
    },
    settle: async ({ lease, tokens, deviceMs }) => {
      const grant = registrar.byId(grantOf(lease));
      // Revoked meanwhile: what it had leased was charged to its parent.
      if (grant !== undefined) await ledger.settle(lease, registrar.limits(grant), { tokens, deviceMs });
      return {};
    },
  };
}

/** The grant that is meant: by id, by holder, or an app's own. */
function find(registrar: Registrar, caller: string, id?: string, holder?: string): Grant | undefined {
  if (id !== undefined) return registrar.byId(id);
  const name = holder ?? (roleOf(caller) === "app" ? caller : undefined);
  if (name === undefined) throw new SomaError("EINVAL", 'say whose grant: give "holder" or "id"');
  return registrar.all().find((grant) => grant.holder === name);
}

/** An app may take back its own grant and what it handed on; persons, services and the kernel any. */
function checkMayRevoke(registrar: Registrar, caller: string, grant: Grant): void {
  if (roleOf(caller) !== "app") return;
  const own = registrar.of(caller);
  if (own && family(registrar.all(), own.id).some(({ id }) => id === grant.id)) return;
  throw new SomaError("EPERM", `"${caller}" did not give "${grant.holder}" its grant: soma app revoke ${grant.holder}`);
}
