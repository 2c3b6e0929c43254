// Owns the apps that are known: what each asks for, and what a person approved.
import { SomaError } from "../../kernel/abi/errors.ts";
import { checkAppName } from "../../kernel/abi/names.ts";
import type { Bucket } from "../../kernel/ipc/store.ts";
import { checkCalls } from "./tree.ts";

export interface Request {
  calls: string[];
  /** Absent: any. */
  models?: string[];
}

export interface App {
  needs: Request;
  approved: Request | null;
}

export class Apps {
  private readonly apps = new Map<string, App>();

  private constructor(private readonly kv: Bucket<App>) {}

  static async open(kv: Bucket<App>): Promise<Apps> {
    const apps = new Apps(kv);
    for (const { key, value } of await kv.entries()) apps.apps.set(key, value);
    return apps;
  }

  all(): [string, App][] {
    return [...this.apps];
  }

  /** Records what a manifest asks for now. Gives what is new in it; approved stays what is not more than before. */
  async install(name: string, needs: Request, approve: boolean): Promise<{ app: App; added: string[] }> {
    checkAppName(name);
    const asked = { ...needs, calls: checkCalls(needs.calls) };
    const before = this.apps.get(name);
    const added = asked.calls.filter((call) => !before?.needs.calls.includes(call));
    const app = { needs: asked, approved: approve ? asked : (before?.approved ?? null) };
    await this.put(name, app);
    return { app, added };
  }

  async approve(name: string): Promise<App> {
    const { needs } = this.get(name);
    const app = { needs, approved: needs };
    await this.put(name, app);
    return app;
  }

  /** What a run of the app gets: just what it asks for, all of which is approved. EPERM with the next step otherwise. */
  admitted(name: string): Request {
    const app = this.get(name);
    if (isApproved(app)) return app.needs;
    const { calls, models } = app.needs;
    const what = `${calls.join(", ")}${models === undefined ? "" : ` with the models ${models.join(", ")}`}`;
    throw new SomaError("EPERM", `${name} asks for ${what}, which is not approved: soma app approve ${name}`);
  }

  async forget(name: string): Promise<void> {
    if (!this.apps.has(name)) return;
    await this.kv.del(name);
    this.apps.delete(name);
  }

  private get(name: string): App {
    const app = this.apps.get(name);
    if (app === undefined) throw new SomaError("ENOENT", `no app "${name}" is installed: soma app install ${name}`);
    return app;
  }

  private async put(name: string, app: App): Promise<void> {
    await this.kv.put(name, app);
    this.apps.set(name, app);
  }
}

/** Whether all that it asks for was approved. */
export function isApproved({ needs, approved }: App): boolean {
  if (approved === null || !needs.calls.every((call) => approved.calls.includes(call))) return false;
  const { models } = approved;
  return models === undefined || (needs.models?.every((model) => models.includes(model)) ?? false);
}
