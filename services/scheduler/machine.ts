// Owns the scheduler's life: learns what the devices have, then serves. No I/O.
import { fromPromise, setup } from "xstate";

export const schedulerMachine = setup({
  actors: { open: fromPromise<void>(() => Promise.reject(new Error("open is not provided"))) },
}).createMachine({
  id: "scheduler",
  initial: "surveying",
  states: { surveying: { invoke: { src: "open", onDone: "serving" } }, serving: {} },
});
