// Owns setting a system up for containers: keys, the broker's configuration, and one credential for each launcher.
// Usage: init.ts. Writes below SOMA_INIT: broker/soma.conf, <service>/launcher.creds; the keys lie in SOMA_HOME or SOMA_KEYS. Run again,
// it keeps what is there. SOMA_CLUSTER names hosts with commas between: then broker/<host>.conf for each. SOMA_REPLICAS as for the kernel.
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SERVICES } from "../abi/names.ts";
import { launcherPermissions } from "../abi/rights.ts";
import { brokerConfig, storageOf } from "../broker/config.ts";
import { formatCreds } from "../ipc/jwt.ts";
import { createKey } from "../ipc/nkey.ts";
import { Authority } from "../keys/authority.ts";
import { rules } from "../registry.ts";
import { readText, replaceText } from "./file.ts";
import { openHome } from "./home.ts";

/** On which brokers of a cluster hear each other. */
const CLUSTER_PORT = 6222;
const at = process.env.SOMA_INIT;
if (!at) throw new Error("SOMA_INIT must name the directory to write to");
const { keys } = openHome();
const authority = new Authority(keys, { storage: storageOf(Number(process.env.SOMA_REPLICAS || 1)) });

// Read by the broker, another user. Alone it holds no secret; that of a cluster is seen by whoever mounts this directory: brokers.
const directory = join(at, "broker");
mkdirSync(directory, { recursive: true });
const nodes = (process.env.SOMA_CLUSTER ?? "").split(",").filter(Boolean);
for (const name of nodes.length > 0 ? nodes : ["soma"]) {
  const peers = nodes.map((node) => `${node}:${CLUSTER_PORT}`);
  const cluster = nodes.length === 0 ? undefined : { name, port: CLUSTER_PORT, peers, secret: secret() };
  const options = { host: "0.0.0.0", port: 4222, store: "/data", monitor: "127.0.0.1:8222", cluster };
  const file = join(directory, `${name}.conf`);
  writeFileSync(file, brokerConfig(authority, options));
  chmodSync(file, 0o644);
}

for (const service of SERVICES) {
  const file = join(at, service, "launcher.creds");
  if (readText(file) !== undefined) continue;
  const key = createKey("user");
  const name = `boot-launcher-${service}`;
  const jwt = authority.mintActor({ name, publicKey: key.publicKey, permissions: rules(launcherPermissions(service)) });
  mkdirSync(join(at, service), { recursive: true, mode: 0o700 });
  replaceText(file, formatCreds({ name, jwt, key }));
}
console.log("soma: keys, configuration and credentials are there");

/** By which brokers know each other, made once. */
function secret(): string {
  const file = join(keys, "cluster.secret");
  const kept = readText(file)?.trim();
  if (kept) return kept;
  const made = randomBytes(24).toString("hex");
  replaceText(file, `${made}\n`);
  return made;
}
