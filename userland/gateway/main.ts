// Serves OpenAI clients over HTTP. It holds the right to look up JWTs and no other: all work is done under the key of who asks.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { defineApp, SomaError } from "../sdk/app.ts";
import manifest from "./app.json" with { type: "json" };
import { Pool } from "./pool.ts";
import { gateway } from "./server.ts";

defineApp({
  ...manifest,
  async main({ soma, flags, signal, print }) {
    const host = typeof flags.host === "string" ? flags.host : "127.0.0.1";
    const port = number("port", flags.port ?? "11435", 65_535);
    const timeout = 1_000 * number("timeout", flags.timeout ?? "600", 86_400);
    const pool = new Pool(soma);
    const app = gateway({
      pool,
      timeout,
      log: (line) => print(`${line}\n`),
      ...(typeof flags.cors === "string" ? { cors: flags.cors } : {}),
    });
    const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false });
    server.listen(port, host);
    await once(server, "listening").catch((cause: NodeJS.ErrnoException) => {
      const next = cause.code === "EADDRINUSE" ? "another program listens there, choose another --port" : cause.message;
      throw new SomaError("EIO", `cannot listen on ${host} port ${port}: ${next}`, { cause });
    });
    const { port: chosen } = server.address() as AddressInfo;
    print(welcome(`http://${host.includes(":") ? `[${host}]` : host}:${chosen}/v1`));
    await new Promise<void>((end) => {
      signal.addEventListener("abort", () => end(), { once: true });
      // Our own right is gone, or the system is.
      soma.bus.on(({ type }) => type === "closed" && end());
    });
    pool.close();
    server.close();
  },
});

function number(name: string, value: string | true, most: number): number {
  if (typeof value === "string" && /^\d+$/.test(value) && Number(value) <= most) return Number(value);
  throw new SomaError("EINVAL", `--${name} is a whole number up to ${most}: ${manifest.usage}`);
}

const welcome = (url: string) => `OpenAI clients find Soma at ${url}
  KEY=$(soma key create me)
  curl ${url}/chat/completions -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
    -d '{"model": "default", "messages": [{"role": "user", "content": "Hello"}]}'
`;
