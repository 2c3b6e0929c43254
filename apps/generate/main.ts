// Continues a text with a model, as it comes.
import { defineApp, SomaError } from "../../userland/sdk/app.ts";
import manifest from "./app.json" with { type: "json" };

defineApp({
  ...manifest,
  async main({ soma, args, flags, signal, print }) {
    const prompt = args.join(" ");
    if (prompt === "") throw new SomaError("EINVAL", `say what to continue: ${manifest.usage}`);
    const stream = soma.model.generate(
      {
        prompt,
        task: "continue",
        ...(typeof flags.model === "string" ? { model: flags.model } : {}),
        ...(typeof flags.device === "string" ? { device: flags.device } : {}),
        ...(flags.max ? { maxTokens: Number(flags.max) } : {}),
        sample: { temperature: Number(flags.temperature ?? 0), ...(flags.seed ? { seed: Number(flags.seed) } : {}) },
      },
      { signal },
    );
    for await (const { text } of stream) if (!flags.json) print(text);
    print(flags.json ? `${JSON.stringify(await stream.result)}\n` : "\n");
  },
});
