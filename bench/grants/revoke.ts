// Owns the figures of rights that end: from the call that revokes, and from the moment of expiry, to the end of the connection.
import { createKey } from "../../kernel/ipc/nkey.ts";
import { startKernel } from "../../test/helpers/kernel.ts";
import { startWorld } from "../../test/helpers/world.ts";
import { expiries } from "../../test/security/expiries.ts";
import { revocations } from "../../test/security/revocations.ts";
import { load } from "../figures.ts";

const world = await startWorld({ stores: true });
const kernel = await startKernel(world);
await kernel.start("auth");
const person = await world.client("person");
const where = { url: world.url, person, makeKey: () => createKey("user") };
const line = (ms: number[]): string => {
  ms.sort((a, b) => a - b);
  const at = (share: number) => ms[Math.min(ms.length - 1, Math.floor(share * ms.length))]!.toFixed(1);
  return `median ${at(0.5)}  p90 ${at(0.9)}  p99 ${at(0.99)}  most ${at(1)}`;
};
process.stdout.write("revoke -> connection closed, 100 clients, one after another, ms\n");
process.stdout.write(`${line(await revocations(where, 100))}   goal: p99 250\n`);
process.stdout.write("expiry -> connection closed, 50 clients, ms\n");
process.stdout.write(`${line(await expiries(where, 50))}   goal: 1500\n${load()}\n`);
await kernel.stop();
await world.stop();
