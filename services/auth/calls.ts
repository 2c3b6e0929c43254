// Owns the table from auth's calls to its books.
import { SomaError } from "../../kernel/abi/errors.ts";
import { roleOf, serviceOf } from "../../kernel/abi/names.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Handlers } from "../../kernel/ipc/server.ts";
import type { Books } from "./books.ts";

export function calls(books: Books, client: Pick<Client, "call">): Handlers<"auth"> {
  return {
    admit: ({ app, holder, publicKey }) => books.admit(app, holder, publicKey),
    install: ({ app, needs, models, approve }) => books.install(app, needs, models, approve),
    approve: async ({ app }) => ({ app, calls: (await books.approve(app)).needs }),
    grant: (input) => books.grant(input),
    derive: (input, { caller }) => books.derive(caller, input),
    revoke: async (which, { caller }) => {
      if (which.id === undefined && which.holder === undefined)
        throw new SomaError("EINVAL", "name a grant's id or its holder");
      return { revoked: await books.revoke(roleOf(caller) === "app" ? caller : undefined, which) };
    },
    apps: () => ({ apps: [...books.apps.values()], grants: [...books.grants.values()] }),
    forget: async ({ app }) => {
      const revoked = await books.forget(app);
      const { deleted } = await client.call("memory.wipe", { namespace: app });
      return { revoked, deleted };
    },
    whoami: (_input, { caller }) => ({ caller, role: roleOf(caller), grant: books.grants.get(caller) ?? null }),
    reserve: async ({ holder, tokens, deviceMs }) => {
      if (serviceOf(holder) !== undefined)
        throw new SomaError("EINVAL", `"${holder}" is a service: budgets belong to holders of grants`);
      return { ...(await books.reserve(holder, { tokens, deviceMs })), tokens, deviceMs };
    },
    settle: async ({ lease, tokens, deviceMs }) => {
      await books.settle(lease, { tokens, deviceMs });
      return {};
    },
  };
}
