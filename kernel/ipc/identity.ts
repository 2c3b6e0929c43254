// Owns how a process gets its identity: a bootstrap credential becomes an instance name, an epoch and a JWT for a key that never left the process.
import { SomaError } from "../abi/errors.ts";
import { ABI } from "../abi/limits.ts";
import { NatsBus } from "./bus.ts";
import { Client } from "./client.ts";
import { createKey } from "./nkey.ts";

/** What a launcher hands to a child, in the environment variable SOMA_BOOTSTRAP as JSON. */
export interface Bootstrap {
  url: string;
  /** Service to become. */
  service: string;
  /** The bootstrap user: allowed only kernel.register. */
  name: string;
  jwt: string;
  seed: string;
}

export interface Identity {
  instance: string;
  epoch: number;
  jwt: string;
  seed: string;
  /** Public key that signs grants. */
  grantKey?: string;
  /** What only this service gets from the kernel, such as auth's signing keys. */
  secrets: Record<string, string>;
}

/** Takes the bootstrap out of the environment, so that no child inherits it. */
export function takeBootstrap(): Bootstrap {
  const text = process.env.SOMA_BOOTSTRAP;
  delete process.env.SOMA_BOOTSTRAP;
  if (text === undefined) throw new SomaError("EINVAL", 'services are started by the kernel: run "soma start"');
  return JSON.parse(text) as Bootstrap;
}

/** Trades the bootstrap credential for an identity. The kernel revokes a former holder's key before it answers. */
export async function register(bootstrap: Bootstrap, host?: string): Promise<Identity> {
  const key = createKey("user");
  const bus = await NatsBus.connect({
    url: bootstrap.url,
    name: bootstrap.name,
    jwt: () => bootstrap.jwt,
    seed: bootstrap.seed,
  });
  try {
    const { instance, epoch, jwt, grantKey, secrets } = await new Client(bus).call(
      "kernel.register",
      {
        service: bootstrap.service,
        publicKey: key.publicKey,
        pid: process.pid,
        abi: ABI,
        ...(host === undefined ? {} : { host }),
      },
      { ttl: 10_000 },
    );
    return {
      instance,
      epoch,
      jwt,
      seed: key.seed,
      secrets: secrets ?? {},
      ...(grantKey === undefined ? {} : { grantKey }),
    };
  } finally {
    await bus.close();
  }
}
