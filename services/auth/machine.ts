// Owns auth's life: reads its books, then serves. No I/O.
import { fromPromise, setup } from "xstate";

export const authMachine = setup({
  actors: { open: fromPromise<void>(() => Promise.reject(new Error("open is not provided"))) },
}).createMachine({
  id: "auth",
  initial: "opening",
  states: { opening: { invoke: { src: "open", onDone: "serving" } }, serving: {} },
});
