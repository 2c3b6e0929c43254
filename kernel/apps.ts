// Owns finding an app: by name below apps/, or by the path of its folder. An app is a folder with app.json and a main program.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { z } from "zod";
import { SomaError } from "./abi/errors.ts";
import { checkAppName } from "./abi/names.ts";

const manifest = z.object({
  name: z.string(),
  /** Calls that it makes; auth admits it once the person has approved them. */
  needs: z.array(z.string()).default([]),
  /** Limit of V8's heap. */
  memoryMb: z.number().positive().default(256),
  /** npm packages of the system whose files it reads as it runs, to hand them to a browser. */
  packages: z.array(z.string().regex(/^(@[a-z0-9-]+\/)?[a-z0-9][a-z0-9.-]*$/)).default([]),
});

export interface App {
  name: string;
  needs: string[];
  memoryMb: number;
  packages: string[];
  /** Its main program. */
  entry: string;
}

/** First that exists is run. */
const PROGRAMS = ["main.ts", "main.mjs", "main.js"];
/** A running app is called <name>-<4 hex>, and NAME allows 32 letters. */
const LONGEST = 27;

/** ENOENT, with what there is, or EINVAL when the folder is no app. `root`: where apps are looked up by name. */
export function findApp(root: string, wanted: string): App {
  const isPath = isAbsolute(wanted) || wanted.includes("/");
  const folder = isPath ? resolve(wanted) : join(root, wanted);
  const path = join(folder, "app.json");
  if ((!isPath && !/^[a-z0-9-]+$/.test(wanted)) || !existsSync(path)) {
    const hint = isPath ? `no app.json in ${folder}` : `no app "${wanted}"`;
    throw new SomaError("ENOENT", `${hint}: there are ${listApps(root).join(", ") || "none"}`);
  }
  const app = parse(path);
  checkAppName(app.name);
  if (app.name.length > LONGEST) throw new SomaError("EINVAL", `${path}: the name may have ${LONGEST} letters at most`);
  const entry = PROGRAMS.map((program) => join(folder, program)).find(existsSync);
  if (entry === undefined) throw new SomaError("EINVAL", `${folder} has no program: write ${PROGRAMS.join(" or ")}`);
  return { ...app, entry };
}

/** Names of the apps below `root`. */
export function listApps(root: string): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => existsSync(join(root, name, "app.json")))
    .sort();
}

function parse(path: string): z.output<typeof manifest> {
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new SomaError("EINVAL", `${path} is no JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = manifest.safeParse(data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new SomaError("EINVAL", `${path}: ${issue.path.join(".")}: ${issue.message}`);
}
