// Serves the console on this machine. It holds calls that read and the playground's, and no other.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { defineApp, SomaError } from "../sdk/app.ts";
import manifest from "./app.json" with { type: "json" };
import { Door } from "./door.ts";
import { files } from "./modules.ts";
import { consoleServer } from "./server.ts";

/** Never another address: there is no TLS here, and the token opens everything that can be seen. */
const HOST = "127.0.0.1";

defineApp({
  ...manifest,
  async main({ soma, flags, signal, print }) {
    const { port: wanted = "11436" } = flags;
    if (typeof wanted !== "string" || !/^\d+$/.test(wanted) || Number(wanted) > 65_535)
      throw new SomaError("EINVAL", `--port is a whole number up to 65535: ${manifest.usage}`);
    const door = new Door(() => (server.address() as AddressInfo).port);
    const app = consoleServer({ soma, door, files: files() });
    const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false });
    server.listen(Number(wanted), HOST);
    await once(server, "listening").catch((cause: NodeJS.ErrnoException) => {
      const next = cause.code === "EADDRINUSE" ? "another program listens there, choose another --port" : cause.message;
      throw new SomaError("EIO", `cannot listen on ${HOST} port ${wanted}: ${next}`, { cause });
    });
    // What follows # stays in the browser: no log and no other site sees it.
    print(`The console is at http://${HOST}:${(server.address() as AddressInfo).port}/#token=${door.token}\n`);
    await new Promise<void>((end) => {
      signal.addEventListener("abort", () => end(), { once: true });
      // Our own right is gone, or the system is.
      soma.bus.on(({ type }) => type === "closed" && end());
    });
    server.close();
  },
});
