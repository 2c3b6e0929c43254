// Owns the figures of taking rights back: from the call to the end of the connection, and to the last call that passes.
import { createKey } from "../../kernel/ipc/nkey.ts";
import { startKernel } from "../../test/helpers/kernel.ts";
import { startWorld } from "../../test/helpers/world.ts";
import { revocations } from "../../test/security/revocations.ts";
import { load } from "../figures.ts";

const world = await startWorld({ stores: true });
const kernel = await startKernel(world);
await kernel.start("auth");
const person = await world.client("person");
const ms = await revocations({ url: world.url, person, makeKey: () => createKey("user") }, 100);
ms.sort((a, b) => a - b);
const at = (share: number) => ms[Math.min(ms.length - 1, Math.floor(share * ms.length))]!.toFixed(1);
process.stdout.write(`revoke -> connection closed, 100 clients, one after another, ms\n`);
process.stdout.write(`median ${at(0.5)}  p90 ${at(0.9)}  p99 ${at(0.99)}  most ${at(1)}   goal: p99 250\n${load()}\n`);
await kernel.stop();
await world.stop();
