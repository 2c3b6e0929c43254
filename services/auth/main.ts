// Owns the wiring of the auth service: keys, books, calls.
import { createActor, fromPromise, waitFor } from "xstate";
import { runService } from "../../kernel/ipc/service.ts";
import { Kv } from "../../kernel/ipc/store.ts";
import { Books } from "./books.ts";
import { calls } from "./calls.ts";
import { authMachine } from "./machine.ts";
import { createSigner } from "./mint.ts";

await runService("auth", async ({ bus, client, recorder, identity, crash }) => {
  let books!: Books;
  const open = async () => {
    books = await Books.open({
      grants: await Kv.open(bus, "grants"),
      ledger: await Kv.open(bus, "ledger"),
      grantKey: identity.grantKey ?? "",
      signer: createSigner(identity.secrets),
      revokeKeys: async (publicKeys) => {
        await client.call("kernel.revokeKeys", { publicKeys });
      },
    });
  };
  const machine = createActor(authMachine.provide({ actors: { open: fromPromise(open) } }), {
    id: "auth",
    inspect: recorder.inspect,
  });
  machine.subscribe({ error: crash });
  machine.start();
  await waitFor(machine, (snapshot) => snapshot.matches("serving"));
  return {
    handlers: calls(books, client),
    state: () => machine.getSnapshot().value,
    figures: () => ({ apps: books.apps.size, grants: books.grants.size }),
  };
});
