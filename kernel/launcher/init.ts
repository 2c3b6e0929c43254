// Owns setting a system up for containers: keys, the broker's configuration, and one credential for each launcher.
// Usage: init.ts. Writes below SOMA_INIT: broker/soma.conf, <service>/launcher.creds; the keys lie in SOMA_HOME. Run again, it keeps what is there.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SERVICES } from "../abi/names.ts";
import { launcherPermissions } from "../abi/rights.ts";
import { brokerConfig, STORAGE } from "../broker/config.ts";
import { formatCreds } from "../ipc/jwt.ts";
import { createKey } from "../ipc/nkey.ts";
import { Authority } from "../keys/authority.ts";
import { rules } from "../registry.ts";
import { readText, replaceText } from "./file.ts";
import { openHome } from "./home.ts";

const at = process.env.SOMA_INIT;
if (!at) throw new Error("SOMA_INIT must name the directory to write to");
const authority = new Authority(openHome().keys, { storage: STORAGE });

// Read by the broker, another user: it holds no secret.
const directory = join(at, "broker");
mkdirSync(directory, { recursive: true });
const config = brokerConfig(authority, { host: "0.0.0.0", port: 4222, store: "/data", monitor: "127.0.0.1:8222" });
writeFileSync(join(directory, "soma.conf"), config);
chmodSync(join(directory, "soma.conf"), 0o644);

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
