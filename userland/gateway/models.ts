// Owns GET /v1/models: the names by which a key may ask for models.
import type { CallOptions, Soma } from "../sdk/soma.ts";
import { HttpError } from "./errors.ts";

export interface ModelObject {
  id: string;
  object: "model";
  created: number;
  owned_by: "soma";
}

/** Aliases, and each model under its name, which means its newest version. Only what the key's grant names. */
export async function models(soma: Soma, options: CallOptions): Promise<ModelObject[]> {
  const [{ models: rows }, { grant }] = await Promise.all([
    soma.model.list({}, options),
    soma.auth.whoami({}, options),
  ]);
  const created = new Map<string, number>();
  for (const { name, aliases, createdAt } of rows)
    for (const id of [name, ...aliases]) created.set(id, Math.max(created.get(id) ?? 0, Math.floor(createdAt / 1_000)));
  const allowed = grant?.caveats.models?.map((model) => model.split("@")[0]);
  return [...created]
    .filter(([id]) => allowed === undefined || allowed.includes(id))
    .map(([id, at]) => ({ id, object: "model", created: at, owned_by: "soma" }));
}

export async function model(soma: Soma, id: string, options: CallOptions): Promise<ModelObject> {
  const found = (await models(soma, options)).find((candidate) => candidate.id === id);
  if (found) return found;
  throw new HttpError(
    404,
    "invalid_request_error",
    "model_not_found",
    `there is no model "${id}", or not for this key`,
    "model",
  );
}
