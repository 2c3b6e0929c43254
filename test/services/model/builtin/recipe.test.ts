// Owns the tests of the built-in model's files, by the eyes of Hugging Face transformers where it is installed.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { builtinCorpus } from "../../../../services/model/builtin/corpus.ts";
import { builtinRecipe, builtinTokenizer, modelFiles } from "../../../../services/model/builtin/recipe.ts";
import { chatIds, promptIds } from "../../../../services/model/text/templates.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";
import { missing, python } from "../text/python.ts";

const corpus = builtinCorpus();
const recipe = builtinRecipe();
const json = builtinTokenizer(recipe, corpus);
const tokenizer = loadTokenizer(json);
const files = modelFiles(recipe, json);

test("the model has about a million parameters", () => {
  const c = { ...recipe.config, ...files["config.json"] } as unknown as Record<string, number>;
  const attention = 2 * c.hidden_size! * c.hidden_size! + 2 * c.hidden_size! * c.num_key_value_heads! * c.head_dim!;
  const layer = attention + 3 * c.hidden_size! * c.intermediate_size! + 2 * c.hidden_size!;
  const total = c.vocab_size! * c.hidden_size! + c.num_hidden_layers! * layer + c.hidden_size!;
  assert.ok(total > 0.8e6 && total < 1.1e6, `${total}`);
});

test("config and tokenizer agree on the vocabulary and its special ids", () => {
  const config = files["config.json"] as Record<string, unknown>;
  assert.is(config.vocab_size, tokenizer.vocabSize);
  assert.is(config.bos_token_id, tokenizer.idOf(recipe.templates.bos));
  assert.is(config.eos_token_id, tokenizer.idOf(recipe.templates.eos));
  assert.is(config.pad_token_id, tokenizer.idOf("<|pad|>"));
});

test("every task's segments are known special tokens or have a field", () => {
  for (const [task, template] of Object.entries(recipe.templates.tasks)) {
    if (!("prompt" in template)) throw new Error(`${task} has no prompt`);
    for (const segment of [...template.prompt, ...template.target!]) {
      assert.ok(segment.includes("{") || tokenizer.isSpecial(tokenizer.idOf(segment)), `${task}: ${segment}`);
    }
  }
});

const why = missing("transformers");
if (why) console.log(`skipped: comparison with transformers (${why})`);
(why ? test.skip : test)("transformers reads the files: same chat ids, same plain ids, same text", () => {
  const folder = mkdtempSync(join(tmpdir(), "soma-recipe-"));
  try {
    const all = { ...files, "tokenizer.json": json };
    for (const [name, content] of Object.entries(all)) writeFileSync(join(folder, name), JSON.stringify(content));
    const turns = [
      { role: "user", content: "Hello World" },
      { role: "assistant", content: "你好，世界" },
      { role: "user", content: "Good night" },
    ];
    const theirs = python<{ chat: number[]; turns: number[]; plain: number[]; text: string; model: string }>(
      `import sys, json
from transformers import AutoTokenizer, AutoConfig
t = AutoTokenizer.from_pretrained(sys.argv[1])
turns = json.load(sys.stdin)
chat = t.apply_chat_template(turns[:1], task="translate", add_generation_prompt=True)
print(json.dumps({"chat": chat, "turns": t.apply_chat_template(turns, add_generation_prompt=True), "plain": t("今天天气很好")["input_ids"],
  "text": t.decode(chat, skip_special_tokens=True), "model": AutoConfig.from_pretrained(sys.argv[1]).model_type}))`,
      turns,
      folder,
    );
    assert.equal(theirs.chat, promptIds(tokenizer, recipe.templates, "translate", { source: "Hello World" }));
    assert.equal(theirs.turns, chatIds(tokenizer, recipe.templates, turns));
    assert.equal(theirs.plain, promptIds(tokenizer, recipe.templates, "complete", { source: "今天天气很好" }));
    assert.is(theirs.text, "Hello World");
    assert.is(theirs.model, "llama");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
