// Owns the start of the model service's process.
import { readFileSync } from "node:fs";
import { runService } from "../../kernel/ipc/service.ts";
import { startModel } from "./start.ts";

const about = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };

const hub = {
  endpoint: (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, ""),
  ...(process.env.HF_TOKEN ? { token: process.env.HF_TOKEN } : {}),
};

await runService("model", (ctx) => startModel(ctx, { code: about.version, hub }));
