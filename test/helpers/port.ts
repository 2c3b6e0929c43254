// Owns finding a port that nobody listens on.
import { type AddressInfo, createServer } from "node:net";

/** One of loopback, free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
