// Owns a small text model for tests: a real tokenizer, a context, one stop id.
import { trainBpe } from "../../../services/model/text/bpe.ts";
import type { Templates } from "../../../services/model/text/templates.ts";
import { loadTokenizer } from "../../../services/model/text/tokenizer.ts";
import type { TextModel } from "../../../services/model/textmodel.ts";

const TEXT = "Hello World, the fox says 你好，世界。 ".repeat(4);
const tokenizer = loadTokenizer(trainBpe([TEXT], { vocabSize: 320, specials: ["<|bos|>", "<|end|>"] }));
export const END = 1;

/** `tasks` as in a recipe; by default only plain continuation. */
export function textModel(tasks: Templates["tasks"] = { complete: { prompt: ["<|bos|>", "{source}"] } }): TextModel {
  return { tokenizer, templates: { tasks, bos: "<|bos|>", eos: "<|end|>" }, stopIds: [END], context: 64 };
}
