// Owns the device's actor: its machines, with the effects behind their names.
import { type Actor, createActor, fromPromise } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import type { Effects } from "./effects.ts";
import { jobMachine, type TrainInput } from "./job.ts";
import { deviceMachine } from "./machine.ts";
import { type LoadInput, modelMachine, type Refusal, type RunInput } from "./model.ts";

/** Started; its failures are bugs and end the process. */
export function startDevice(
  { server, recorder, crash }: Pick<Context, "server" | "recorder" | "crash">,
  effects: Effects,
): Actor<typeof deviceMachine> {
  const reply = (_: unknown, { mids, output }: { mids: string[]; output: unknown }) => {
    for (const mid of mids) server.reply(mid, output);
  };
  const fail = (_: unknown, { mids, error }: { mids: string[]; error: unknown }) => {
    for (const mid of mids) server.fail(mid, error);
  };
  const refuse = (_: unknown, { mid, code, message }: Refusal) => server.fail(mid, new SomaError(code, message));
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
      replyRow: (_, { mid, model }) => server.reply(mid, effects.resident(model).row()),
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
    inspect: recorder.inspect,
  });
  device.subscribe({ error: crash });
  device.start();
  return device;
}
