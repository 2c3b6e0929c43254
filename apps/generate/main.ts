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
        ...(flags.schema === undefined
          ? {}
          : { format: { type: "json_schema" as const, schema: schemaOf(flags.schema) } }),
        ...(flags.max ? { maxTokens: Number(flags.max) } : {}),
        sample: { temperature: Number(flags.temperature ?? 0), ...(flags.seed ? { seed: Number(flags.seed) } : {}) },
      },
      { signal },
    );
    for await (const { text } of stream) if (!flags.json) print(text);
    print(flags.json ? `${JSON.stringify(await stream.result)}\n` : "\n");
  },
});

/** An app sees no files but its own: the shell puts the schema's text there. */
function schemaOf(flag: string | true): Record<string, unknown> {
  try {
    const schema: unknown = JSON.parse(String(flag));
    if (typeof schema === "object" && schema !== null && !Array.isArray(schema))
      return schema as Record<string, unknown>;
  } catch (cause) {
    throw new SomaError("EINVAL", `--schema is no JSON: give its text, as in --schema "$(cat person.json)"`, { cause });
  }
  throw new SomaError("EINVAL", "--schema is a JSON object: a JSON Schema");
}
