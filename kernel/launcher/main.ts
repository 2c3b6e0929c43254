// Owns the launcher process: one per machine, the root of everything that runs, PID 1 in a container.
// Usage: main.ts [program [arguments]], kernel/main.ts by default. Environment: SOMA_HOME, NATS_URL.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { STORAGE } from "../broker/config.ts";
import { provision } from "../broker/provision.ts";
import { externalBroker, startBroker } from "../broker/server.ts";
import { Authority } from "../keys/authority.ts";
import { replaceText } from "./file.ts";
import { cachesOf, openHome } from "./home.ts";
import { launch } from "./launch.ts";
import { LockHeld, takeLock } from "./lock.ts";
import { tetherKind } from "./tether.ts";

const say = (line: string) => console.error(`soma: ${line}`);

// Whoever reads what we say may go away, as a terminal does; everything goes on, and the log files have it.
for (const output of [process.stdout, process.stderr]) output.on("error", () => undefined);

async function main(): Promise<number> {
  const home = openHome();
  const lock = takeLock(join(home.run, "lock"));
  const pidFile = join(home.run, "pid");
  const urlFile = join(home.run, "url");
  replaceText(pidFile, `${process.pid}\n`);
  const tether = tetherKind();
  const given = process.env.NATS_URL;
  const program = given ? undefined : await provision({ caches: cachesOf(home), say });

  const [entry = "kernel/main.ts", ...args] = process.argv.slice(2);
  const launcher = await launch({
    entry,
    args,
    env: { ...(process.env as Record<string, string>), SOMA_HOME: home.root },
    log: home.log,
    tether,
    say,
    echo: (chunk) => process.stdout.write(chunk),
    startBroker: async (former) => {
      if (!program) return externalBroker(given!);
      // Read afresh: the kernel may have revoked keys since.
      const trust = new Authority(home.keys, { storage: STORAGE });
      const port = former === undefined ? undefined : Number(new URL(former).port);
      const broker = await startBroker({ program: program.path, home, trust, port, tether });
      replaceText(urlFile, `${broker.url}\n`);
      return broker;
    },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => launcher.interrupt(signal === "SIGINT"));
  }
  const code = await launcher.ended;
  for (const file of [pidFile, urlFile]) rmSync(file, { force: true });
  lock.release();
  return code;
}

try {
  process.exit(await main());
} catch (error) {
  if (error instanceof LockHeld) {
    const { pid } = error.holder;
    say(`runs already as process ${pid} (kill ${pid} stops it): attach to it with "soma shell"`);
  } else {
    say((error as Error).message);
  }
  process.exit(1);
}
