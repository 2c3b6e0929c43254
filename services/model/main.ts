// Owns the start of the model service's process.
import { readFileSync } from "node:fs";
import { runService } from "../../kernel/ipc/service.ts";
import { startModel } from "./start.ts";

const about = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };

await runService("model", (ctx) => startModel(ctx, { code: about.version }));
