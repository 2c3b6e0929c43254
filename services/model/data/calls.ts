// Owns the table from calls about data sets to what answers them.
import type { Request } from "../../../kernel/ipc/request.ts";
import type { Handlers } from "../../../kernel/ipc/server.ts";
import { builtinCorpus } from "../builtin/corpus.ts";
import { splitOf } from "../builtin/split.ts";
import type { Catalog } from "../catalog.ts";
import { HeldOut } from "./heldout.ts";
import type { Sets } from "./sets.ts";

type DataHandlers = Pick<Handlers<"model">, "addData" | "data" | "showData" | "readData" | "removeData">;

/** Bytes of lines that are sent together. */
const PIECE = 64 * 1024;

const askerOf = ({ principal }: Request) => principal.principal;

export function dataCalls({ sets, catalog }: { sets: Sets; catalog: Catalog }): DataHandlers {
  const { registry, texts } = catalog.options;
  return {
    addData: async ({ name, from, near, against, model, ...rules }, request) => {
      const tokenizer = model === undefined ? undefined : texts.of(registry.find(model).record).tokenizer;
      const building = {
        ...{ from, against, rules: { ...rules, near } },
        heldOut: await heldOut(sets, against, request),
        ...(tokenizer ? { tokenizer: { model: model!, count: (text: string) => tokenizer.encode(text).length } } : {}),
        progress: ({ read, kept }: { read: number; kept: number }) => {
          // A slow reader misses some figures.
          if (!request.congested) void request.emit({ read, kept });
        },
      };
      return sets.add(name, request.received() as AsyncGenerator<Uint8Array>, building, request.principal);
    },
    data: (_, request) => ({ sets: sets.list(askerOf(request)) }),
    showData: ({ data }, request) => sets.show(data, askerOf(request)),
    readData: async ({ data, split, limit = Number.POSITIVE_INFINITY }, request) => {
      let [rows, lines] = [0, ""];
      for await (const example of sets.examples(sets.find(data, askerOf(request)), split, request.signal)) {
        if (rows === limit) break;
        rows += 1;
        lines += `${JSON.stringify(example)}\n`;
        if (lines.length < PIECE) continue;
        await request.emit({ data: Buffer.from(lines) });
        lines = "";
      }
      if (lines !== "") await request.emit({ data: Buffer.from(lines) });
      return { rows };
    },
    removeData: async ({ data }, request) => {
      await sets.remove(data, askerOf(request));
      return {};
    },
  };
}

/** What the tests of these sets ask: it must not be learned. */
async function heldOut(sets: Sets, against: readonly string[], request: Request): Promise<HeldOut> {
  const held = new HeldOut();
  for (const ref of against) {
    if (ref === "builtin") {
      for (const example of builtinCorpus()) if (splitOf(example) === "test") held.add(example);
    } else {
      for await (const example of sets.examples(sets.find(ref, askerOf(request)), "test", request.signal))
        held.add(example);
    }
  }
  return held;
}
