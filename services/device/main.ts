// Owns the wiring of the device service: machine, effects, calls.
import { homedir } from "node:os";
import { join } from "node:path";
import { createActor, fromPromise } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import { runService } from "../../kernel/ipc/service.ts";
import { calls } from "./calls.ts";
import { probeDrivers } from "./drivers/registry.ts";
import { Effects } from "./effects.ts";
import { hardware } from "./hardware.ts";
import { jobMachine, type TrainInput } from "./job.ts";
import { deviceMachine } from "./machine.ts";
import { type LoadInput, modelMachine, type Refusal, type RunInput } from "./model.ts";

await runService("device", async (ctx) => {
  const home = process.env.SOMA_HOME || join(homedir(), ".soma");
  const effects = new Effects({ ctx, hardware: hardware(), drivers: probeDrivers(), home });
  const reply = (_: unknown, { mids, output }: { mids: string[]; output: unknown }) => {
    for (const mid of mids) ctx.server.reply(mid, output);
  };
  const fail = (_: unknown, { mids, error }: { mids: string[]; error: unknown }) => {
    for (const mid of mids) ctx.server.fail(mid, error);
  };
  const refuse = (_: unknown, { mid, code, message }: Refusal) => ctx.server.fail(mid, new SomaError(code, message));
  const model = modelMachine.provide({
    actors: {
      load: fromPromise(({ input }: { input: LoadInput }) => effects.load(input)),
      run: fromPromise(({ input }: { input: RunInput }) => effects.run(input)),
      unload: fromPromise(({ input }: { input: { model: string } }) => effects.unload(input.model)),
    },
    actions: {
      reply,
      refuse,
      fail,
      replyRow: (_, { mid, model }) => ctx.server.reply(mid, effects.resident(model).row()),
      interrupt: (_, { model }) => effects.resident(model).interrupt(),
      announce: () => effects.announce(),
    },
  });
  const job = jobMachine.provide({
    actors: {
      train: fromPromise(({ input: { mid, input } }: { input: { mid: string; input: TrainInput } }) =>
        effects.train(mid, input, (progress) => device.send({ type: "progress", mid, progress })),
      ),
    },
    actions: { reply, fail, stop: (_, { mid }) => effects.stopTraining(mid) },
  });
  const device = createActor(deviceMachine.provide({ actors: { model, job }, actions: { refuse } }), {
    id: "device",
    inspect: ctx.recorder.inspect,
  });
  device.subscribe({ error: ctx.crash });
  device.start();
  effects.announce();
  return {
    handlers: calls(device, effects),
    state: () => device.getSnapshot().value,
    figures: () => ({ ...effects.list(), parking: effects.parking() }),
    stop: () => effects.stop(),
  };
});
