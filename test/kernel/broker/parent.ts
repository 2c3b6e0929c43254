// A process to be killed -9: starts a broker, says its pid, and waits.
import { STORAGE } from "../../../kernel/broker/config.ts";
import { startBroker } from "../../../kernel/broker/server.ts";
import { Authority } from "../../../kernel/keys/authority.ts";
import { openHome } from "../../../kernel/launcher/home.ts";
import type { TetherKind } from "../../../kernel/launcher/tether.ts";

const [program, directory, tether] = process.argv.slice(2) as [string, string, TetherKind];
const home = openHome(directory);
const broker = await startBroker({ program, home, trust: new Authority(home.keys, { storage: STORAGE }), tether });
console.log(broker.pid);
setInterval(() => undefined, 1_000);
