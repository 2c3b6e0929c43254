// Translates a text with a model, as it comes.
import { defineApp, SomaError } from "../../userland/sdk/app.ts";
import manifest from "./app.json" with { type: "json" };

defineApp({
  ...manifest,
  async main({ soma, args, flags, signal, print }) {
    const text = args.join(" ");
    if (text === "") throw new SomaError("EINVAL", `say what to translate: ${manifest.usage}`);
    const option = (name: string) => (typeof flags[name] === "string" ? { [name]: flags[name] } : {});
    const stream = soma.model.translate(
      { text, ...option("from"), ...option("to"), ...option("model"), ...option("device") },
      { signal },
    );
    for await (const chunk of stream) if (!flags.json) print(chunk.text);
    print(flags.json ? `${JSON.stringify(await stream.result)}\n` : "\n");
  },
});
