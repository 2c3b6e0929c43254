// Owns the wiring of the device service: hardware, files, actor, calls.
import { homedir } from "node:os";
import { join } from "node:path";
import { runService } from "../../kernel/ipc/service.ts";
import { startDevice } from "./actor.ts";
import { calls } from "./calls.ts";
import { pickDriver, probeDrivers } from "./drivers/registry.ts";
import { Effects } from "./effects.ts";
import { defaultBound, Files } from "./files.ts";
import { bytesOf, hardware } from "./hardware.ts";
import { readModels } from "./metrics.ts";
import { locateWeights } from "./weights.ts";

await runService("device", async (ctx) => {
  // Copies of weights and snapshots lie below it.
  const home = process.env.SOMA_HOME || join(homedir(), ".soma");
  const files = new Files(join(home, "snapshots"), bytesOf("SOMA_SNAPSHOT_BYTES") ?? defaultBound(home));
  const drivers = probeDrivers();
  const effects = new Effects({
    ctx,
    hardware: hardware(),
    drivers,
    pick: (name) => pickDriver(drivers, name),
    locate: (weights, fetch) => locateWeights(weights, join(home, "cache", "weights"), fetch),
    files,
  });
  const device = startDevice(ctx, effects);
  readModels(ctx.metrics, effects);
  effects.announce();
  return {
    handlers: calls(device, effects),
    state: () => device.getSnapshot().value,
    figures: () => ({ ...effects.list(), parking: effects.parking(), snapshots: files.figures }),
    stop: () => effects.stop(),
  };
});
