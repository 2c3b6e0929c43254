// Owns a launcher in a container of its own: it runs one service, at the word of a kernel that it hears over the broker.
// Environment: SOMA_LAUNCHER, the path of its credential (init.ts); NATS_URL; SOMA_HOME.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isSomaError } from "../abi/errors.ts";
import { subjects } from "../abi/subjects.ts";
import { NatsBus } from "../ipc/bus.ts";
import { parseCreds } from "../ipc/jwt.ts";
import { Children } from "./children.ts";
import { replaceText } from "./file.ts";
import { openHome } from "./home.ts";
import { HOST_BEAT_MS, type HostOrder, type HostReport } from "./protocol.ts";
import { tetherKind } from "./tether.ts";

/** From TERM to KILL of our child when we end: a service drains in less (LIMITS.shutdown). */
const GRACE_MS = 5_000;
const say = (line: string) => console.error(`soma: ${line}`);

const home = openHome();
const { name, jwt, key } = parseCreds(readFileSync(process.env.SOMA_LAUNCHER!, "utf8"));
const service = name.slice(name.lastIndexOf("-") + 1);
const host = `${service}-${randomBytes(4).toString("hex")}`;
const url = process.env.NATS_URL!;
/** Read by health.mjs. */
const health = (state: string) => replaceText(join(home.run, "health"), `${state}\n`);
health("waiting");
const bus = await connected();

let took = 0;
let ending = false;
const send = (report: HostReport) => {
  if (bus.connected) bus.publish(subjects.report(service, host), Buffer.from(JSON.stringify(report)));
};
const children = new Children({
  log: home.log,
  tether: tetherKind(),
  say,
  report: (report) => {
    if (report.type === "started" || report.type === "exited" || report.type === "refused") send(report);
  },
  echo: (_id, chunk) => process.stdout.write(chunk),
});

async function obey({ n, order }: HostOrder): Promise<void> {
  // Sent again before we said that it was taken, or out of order since one was lost.
  if (n !== took + 1 || ending) return;
  took = n;
  if (order.type === "state") return health(order.state);
  if (order.type === "kill") return children.kill(order.id, order.signal);
  // One that the kernel gave up, and could not tell us.
  await children.end(0);
  children.start({ ...order, env: { ...order.env, ...ownEnvironment() } });
}

/** What this container knows better than the kernel's. */
function ownEnvironment(): Record<string, string> {
  const own = Object.entries(process.env).filter(([name]) => /^SOMA_|^HF_/.test(name) && name !== "SOMA_LAUNCHER");
  return { ...(Object.fromEntries(own) as Record<string, string>), SOMA_HOME: home.root };
}

let work = Promise.resolve();
bus.subscribe(subjects.order(service, host), ({ data }) => {
  const order = JSON.parse(Buffer.from(data).toString()) as HostOrder;
  work = work.then(() => obey(order));
});
bus.on(({ type }) => {
  if (type === "lost") health("the broker is away");
  if (type === "closed") {
    say("the broker refuses us: was the system set up anew?");
    process.exit(1);
  }
});
const here = () => send({ type: "here", hostname: hostname(), took, children: children.list() });
here();
setInterval(here, HOST_BEAT_MS);
say(`${host} waits for the kernel`);

async function leave(): Promise<void> {
  if (ending) return;
  ending = true;
  send({ type: "leaving" });
  await children.end(GRACE_MS);
  await bus.flush();
  process.exit(0);
}
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void leave());

/** The broker may come later than we do. */
async function connected(): Promise<NatsBus> {
  for (;;) {
    try {
      return await NatsBus.connect({ url, name: host, jwt: () => jwt, seed: key.seed });
    } catch (error) {
      if (!isSomaError(error, "EIO")) throw error;
      await sleep(250);
    }
  }
}
