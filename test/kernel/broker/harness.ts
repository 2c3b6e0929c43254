// Owns what tests of real brokers share: a program found once, a throw-away home, connections that are closed at the end.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect, type NatsConnection } from "nats";
import { STORAGE } from "../../../kernel/broker/config.ts";
import { provision } from "../../../kernel/broker/provision.ts";
import { type Broker, startBroker } from "../../../kernel/broker/server.ts";
import { authenticator, type Credential } from "../../../kernel/ipc/jwt.ts";
import { Authority } from "../../../kernel/keys/authority.ts";
import { cachesOf, type Home, homeAt, openHome } from "../../../kernel/launcher/home.ts";

let found: Promise<string> | undefined;

/** Path of a real nats-server; fetched once per machine into the user's cache. */
export function natsServer(): Promise<string> {
  found ??= provision({ caches: cachesOf(homeAt()) }).then(({ path }) => path);
  return found;
}

/** A directory that is gone after `work`. */
export async function withDirectory<T>(work: (directory: string) => Promise<T> | T): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "soma-test-"));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The promise, or a failure after 15 s: far more than anything here takes, so that a test fails instead of hanging. */
export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen within 15 s`)), 15_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export interface Bench {
  home: Home;
  trust: Authority;
  broker: Broker;
  /** Connects as somebody; does not reconnect unless told. */
  connect(credential: Credential, options?: ConnectionOptions): Promise<NatsConnection>;
}

/** Runs `work` with a broker of its own and takes everything down afterwards. */
export async function withBroker<T>(work: (bench: Bench) => Promise<T>): Promise<T> {
  return withDirectory(async (directory) => {
    const home = openHome(directory);
    const trust = new Authority(home.keys, { storage: STORAGE });
    const broker = await startBroker({ program: await natsServer(), home, trust });
    const connections: NatsConnection[] = [];
    try {
      return await work({
        home,
        trust,
        broker,
        connect: async ({ name, jwt, key }, options) => {
          const connection = await connect({
            servers: broker.url,
            authenticator: authenticator(jwt, key),
            inboxPrefix: `_INBOX.${name}`,
            reconnect: false,
            ...options,
          });
          connections.push(connection);
          return connection;
        },
      });
    } finally {
      await Promise.all(connections.map((connection) => connection.close()));
      await broker.stop();
    }
  });
}
