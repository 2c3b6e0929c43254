// Owns the command that shows all metrics, once or over HTTP for a Prometheus server to fetch.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { isSomaError, SomaError } from "../../../kernel/abi/errors.ts";
import { gatherMetrics } from "../../sdk/metrics.ts";
import type { Soma } from "../../sdk/soma.ts";
import type { Command, Env } from "../command.ts";

export const metricsCommands: Command[] = [
  {
    name: "metrics",
    what: "show every service's metrics, or serve them to Prometheus",
    example: "soma metrics --serve 9464",
    options: [
      ["--serve <port>", "serve /metrics until Ctrl-C; 0: any free port"],
      ["--host <address>", "where to serve", "127.0.0.1"],
    ],
    async run(env, _args, { serve, host }) {
      const soma = await env.soma();
      if (serve !== undefined) return await serveMetrics(env, soma, Number(serve), String(host));
      const text = await gatherMetrics(soma);
      return { json: { text }, text };
    },
  },
];

/** Until the command is canceled. EINVAL when the port is taken or none. */
async function serveMetrics(env: Env, soma: Soma, port: number, host: string): Promise<number> {
  const server = createServer(async ({ method, url }, response) => {
    if (method !== "GET" || url !== "/metrics") return response.writeHead(404).end("see /metrics\n");
    try {
      const text = await gatherMetrics(soma);
      response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text);
    } catch (error) {
      if (!isSomaError(error)) throw error;
      response.writeHead(503, { "content-type": "text/plain; charset=utf-8" }).end(`${error.code}: ${error.message}\n`);
    }
  });
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  } catch (cause) {
    throw new SomaError("EINVAL", `cannot serve at ${host}:${port}: choose another --serve PORT`, { cause });
  }
  env.out(`http://${host}:${(server.address() as AddressInfo).port}/metrics\n`);
  await new Promise<void>((resolve) => {
    if (env.signal.aborted) resolve();
    env.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  return 0;
}
