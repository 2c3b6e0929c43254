// Owns auth's calls: identities of apps, grants, budgets.
import { z } from "zod";
import { table } from "../syscall.ts";
import { count, name, none } from "./common.ts";

/** What a grant limits besides the calls themselves. Absent means unlimited. */
export const caveats = z.object({
  models: z.array(z.string()).optional(),
  maxTokens: count.optional(),
  concurrency: count.optional(),
  weight: z.number().positive().max(1000).optional(),
  tokens: z.object({ amount: count, windowMs: count }).optional(),
  deviceMs: z.object({ amount: count, windowMs: count }).optional(),
  storePrompts: z.boolean().optional(),
});
/** `service.call` of the syscall table. */
export const callName = z.string().regex(/^[a-z]+\.[a-zA-Z]+$/, "use service.call");

export const grant = z.object({
  id: z.string(),
  parent: z.string().nullable(),
  /** Whose data and whose share of the machine: the app's name; a derived grant keeps its parent's. */
  app: z.string(),
  holder: z.string(),
  publicKey: z.string(),
  calls: z.array(callName),
  caveats,
  revision: count,
  issuedAt: z.number(),
  expiresAt: z.number().nullable(),
  depth: count,
  ephemeral: z.boolean(),
});
/** A grant as kept in the bucket: the exact bytes that were signed, and auth's Ed25519 signature over them. */
export const signedGrant = z.object({ body: z.string(), signature: z.string() });

/** A grant's budget as it stands: `leased` is set aside for calls that run, `resetsAt` in unix ms. */
export const budgetRow = z.object({
  holder: z.string(),
  budget: z.enum(["tokens", "deviceMs"]),
  /** Its own: what it handed on to children is theirs. */
  amount: count,
  windowMs: count,
  spent: count,
  leased: count,
  left: count,
  resetsAt: z.number(),
});

/** What a holder shall get; the key is the holder's own, and only its public half travels. */
const wish = z.object({
  holder: name,
  publicKey: z.string(),
  calls: z.array(callName).min(1),
  caveats: caveats.default({}),
  expiresMs: count.optional(),
});
const credential = z.object({ jwt: z.string(), grant });

export const auth = table({
  admit: {
    kind: "call",
    what: "mint a fresh identity for an app that the kernel is about to run",
    right: "kernel",
    recorded: true,
    idempotent: false,
    ttl: 5_000,
    input: z.object({ app: name, holder: name, publicKey: z.string() }),
    output: credential,
  },
  install: {
    kind: "call",
    what: "record the rights that an app's manifest asks for",
    right: "person",
    idempotent: true,
    ttl: 5_000,
    input: z.object({
      app: name,
      needs: z.array(callName),
      models: z.array(z.string()).optional(),
      approve: z.boolean().default(false),
    }),
    output: z.object({
      app: z.string(),
      needs: z.array(z.string()),
      approved: z.boolean(),
      added: z.array(z.string()),
    }),
  },
  approve: {
    kind: "call",
    what: "approve what an installed app asks for",
    right: "person",
    recorded: true,
    idempotent: true,
    ttl: 5_000,
    input: z.object({ app: name }),
    output: z.object({ app: z.string(), calls: z.array(z.string()) }),
  },
  grant: {
    kind: "call",
    what: "give a holder rights, as a NATS user credential",
    right: "person",
    recorded: true,
    idempotent: false,
    ttl: 5_000,
    input: wish,
    output: credential,
  },
  derive: {
    kind: "call",
    what: "hand a weaker grant to a child",
    right: "app",
    recorded: true,
    idempotent: false,
    ttl: 5_000,
    input: wish,
    output: credential,
  },
  revoke: {
    kind: "call",
    what: "take back a grant and all that was derived from it",
    right: "app",
    recorded: true,
    idempotent: true,
    ttl: 5_000,
    input: z.object({ id: z.string().optional(), holder: name.optional() }),
    output: z.object({ revoked: z.array(z.string()) }),
  },
  apps: {
    kind: "call",
    what: "list apps with the rights they asked for and hold",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      apps: z.array(z.object({ app: z.string(), needs: z.array(z.string()), approved: z.boolean() })),
      grants: z.array(grant),
      budgets: z.array(budgetRow),
    }),
  },
  forget: {
    kind: "call",
    what: "remove an app, its grants and its data",
    right: "person",
    recorded: true,
    idempotent: true,
    ttl: 10_000,
    input: z.object({ app: name }),
    output: z.object({ revoked: z.array(z.string()), deleted: count }),
  },
  whoami: {
    kind: "call",
    what: "show the caller's own grant",
    right: "app",
    idempotent: true,
    ttl: 2_000,
    input: none,
    output: z.object({ caller: z.string(), role: z.string(), grant: grant.nullable() }),
  },
  credential: {
    kind: "call",
    what: "give a holder's JWT to whoever knows its public key; it is of use only with the secret half",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ publicKey: z.string() }),
    output: z.object({ holder: z.string(), jwt: z.string() }),
  },
  reserve: {
    kind: "call",
    what: "lease a slice of a budget before it is spent; under the same name again, change or renew it",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    input: z.object({
      holder: z.string(),
      /** Chosen by who leases, never used twice for another slice. */
      lease: z.string().regex(/^[a-z0-9-]{1,64}$/),
      tokens: count.default(0),
      deviceMs: count.default(0),
      /** EDQUOT when less is left. */
      least: z.object({ tokens: count.default(0), deviceMs: count.default(0) }).prefault({}),
    }),
    output: z.object({ lease: z.string(), tokens: count, deviceMs: count, expiresMs: z.number() }),
  },
  settle: {
    kind: "call",
    what: "say what of a leased slice was spent; the rest returns",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    input: z.object({ lease: z.string(), tokens: count.default(0), deviceMs: count.default(0) }),
    output: none,
  },
});
