// The real programs together: a text goes on, token for token, whichever service is killed under it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { modelFolder, startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
const long = { model: "fox", prompt: "the quick", maxTokens: 900, sample: { temperature: 1, seed: 3 } };
let undisturbed: Awaited<ReturnType<typeof system.generate>>;

test.before(async () => {
  system = await startRunning();
  await system.client.call("model.importDir", { dir: modelFolder({ context: 1024 }), name: "fox" });
  undisturbed = await system.generate(long);
});
test.after(async () => {
  await system.stop();
});

/** Kills a service once the text has begun, and starts it again. */
async function disturbed(service: "device" | "scheduler") {
  let begun = () => {};
  const first = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const restart = async () => {
    await first;
    await system.kernel.kill(service, system.programs[service]);
    system.programs[service] = await system.kernel.start(service);
  };
  const [text] = await Promise.all([system.generate(long, {}, begun), restart()]);
  return text;
}

for (const service of ["scheduler", "device"] as const) {
  test(`a text goes on by itself when the ${service} is killed, and no id comes twice`, async () => {
    const { ids, end, text } = await disturbed(service);
    assert.equal(ids, undisturbed.ids);
    assert.is(text, undisturbed.text);
    assert.is(end.usage.newTokens, ids.length);
    assert.is(end.usage.promptTokens, undisturbed.end.usage.promptTokens);
  });
}

test("when the model service itself is killed, the caller hears of it and goes on with the ids that it has", async () => {
  const ids: number[] = [];
  let text = "";
  let numerics: string | undefined;
  const stream = system.client.stream("model.generate", long);
  let killed: Promise<void> | undefined;
  const error = await (async () => {
    for await (const chunk of stream) {
      numerics ??= chunk.numerics;
      ids.push(...chunk.ids);
      text += chunk.text;
      if (ids.length > 5) killed ??= system.kernel.kill("model", system.programs.model);
    }
  })().catch((thrown: SomaError) => thrown);
  assert.is(error?.code, "ESERVICEDOWN");
  await killed;
  assert.ok(numerics !== undefined && ids.length < undisturbed.ids.length);
  system.programs.model = await system.kernel.start("model");
  const rest = await system.generate({ ...long, resume: { ids, numerics } });
  assert.equal([...ids, ...rest.ids], undisturbed.ids);
  assert.is(text + rest.text, undisturbed.text);
});

test.run();
