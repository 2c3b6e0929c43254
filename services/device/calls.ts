// Owns the table from the device's calls to its machine's events; what needs no state of the machine is answered at once.
import type { Actor } from "xstate";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import { checkReceivers, type Effects } from "./effects.ts";
import type { deviceMachine } from "./machine.ts";

export function calls(device: Pick<Actor<typeof deviceMachine>, "send">, effects: Effects): Handlers<"device"> {
  return {
    list: () => effects.list(),
    load: (input, { mid }) => {
      device.send({ type: "load", mid, input });
      return DEFER;
    },
    unload: ({ model }, { mid }) => {
      device.send({ type: "unload", mid, model });
      return DEFER;
    },
    run: (input, { mid }) => {
      checkReceivers(input);
      effects.residents.get(input.model)?.arrived(input);
      device.send({ type: "run", mid, model: input.model, input });
      return DEFER;
    },
    drop: async ({ model, seqs, all, aside }) => {
      const resident = effects.resident(model);
      await resident.drop(seqs, all, aside);
      return { freeBlocks: resident.kv.free };
    },
    interrupt: ({ model, now }) => {
      const resident = effects.resident(model);
      if (now) resident.clear();
      else resident.interrupt();
      return {};
    },
    hold: ({ ms }) => {
      effects.hold.set(ms);
      return {};
    },
    snapshot: ({ model, seq }) => effects.resident(model).snapshot(seq),
    restore: ({ model, seq, file }) => effects.resident(model).restore(seq, file),
    train: (input, { mid, signal }) => {
      signal.addEventListener("abort", () => device.send({ type: "cancel", mid }), { once: true });
      device.send({ type: "train", mid, input });
      return DEFER;
    },
  };
}
