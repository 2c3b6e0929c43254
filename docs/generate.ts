// Owns what is generated from the contract: docs/syscalls.md and docs/asyncapi.json. `npm run docs` writes both.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type ZodType, z } from "zod";
import { CODES } from "../kernel/abi/errors.ts";
import { HEADERS } from "../kernel/abi/headers.ts";
import { ABI } from "../kernel/abi/limits.ts";
import { STORES, type Store } from "../kernel/abi/storage.ts";
import { isRecorded, type Syscall } from "../kernel/abi/syscall.ts";
import { allSyscalls, SYSCALLS } from "../kernel/abi/syscalls.ts";

type Schema = Record<string, unknown>;

/** Draft 7, which AsyncAPI 3 takes; byte strings travel as MessagePack bin. */
function schema(type: ZodType, io: "input" | "output"): Schema {
  const made = z.toJSONSchema(type, {
    target: "draft-7",
    io,
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      const def = zodSchema._zod.def as { type: string };
      if (def.type === "custom") Object.assign(jsonSchema, { type: "string", contentEncoding: "base64" });
    },
  }) as Schema;
  delete made.$schema;
  return made;
}

/** `{key: string, namespace?: string}`: a schema in one line. */
function brief(s: Schema | undefined, depth = 0): string {
  if (s === undefined) return "";
  if (s.contentEncoding) return "bytes";
  if (s.enum) return (s.enum as unknown[]).map((v) => JSON.stringify(v)).join(" \\| ");
  if (s.const !== undefined) return JSON.stringify(s.const);
  const options = (s.anyOf ?? s.oneOf) as Schema[] | undefined;
  if (options) return options.map((o) => brief(o, depth)).join(" \\| ");
  if (s.type === "array") return `${brief(s.items as Schema, depth)}[]`;
  if (s.type !== "object") return (s.type as string | undefined) ?? "any";
  const properties = s.properties as Record<string, Schema> | undefined;
  if (properties === undefined) return "object";
  if (depth > 1) return "{…}";
  const required = new Set((s.required as string[] | undefined) ?? []);
  const fields = Object.entries(properties).map(
    ([key, value]) => `${key}${required.has(key) ? "" : "?"}: ${brief(value, depth + 1)}`,
  );
  return `{${fields.join(", ")}}`;
}

function callText(owner: string, name: string, call: Syscall): string {
  const rows = [
    ["input", brief(schema(call.input, "input"))],
    ["chunk", call.chunk && brief(schema(call.chunk, "output"))],
    ["upload", call.upload && brief(schema(call.upload, "input"))],
    ["output", brief(schema(call.output, "output"))],
  ];
  const facts = [
    call.kind,
    `for ${call.right}s`,
    call.idempotent ? "idempotent" : "at most once",
    call.ttl === 0 ? "no deadline" : `${call.ttl} ms`,
    ...(isRecorded(call) ? ["in the audit before the reply"] : []),
  ];
  return `### ${owner}.${name}\n\n${call.what[0]!.toUpperCase()}${call.what.slice(1)}. ${facts.join(", ")}.\n\n${rows
    .filter(([, text]) => text)
    .map(([what, text]) => `- ${what}: \`${text!.replaceAll("\\|", "|")}\``)
    .join("\n")}\n`;
}

export function syscallsPage(): string {
  const errors = Object.entries(CODES).map(
    ([code, [what, retryable, executed, exit]]) =>
      `| ${code} | ${what} | ${retryable ? "yes" : "no"} | ${executed} | ${exit} |`,
  );
  const stores = (Object.entries(STORES) as [string, Store][]).map(
    ([name, s]) =>
      `| ${name} | ${s.kind} | ${s.owner} | ${Math.round(s.maxBytes / 1048576)} MB | ${s.maxAgeMs === 0 ? "for ever" : `${s.maxAgeMs / 86_400_000} days`} | ${s.full} | ${s.what} |`,
  );
  const owners = Object.entries(SYSCALLS).map(
    ([owner, calls]) =>
      `## ${owner}\n\n${Object.entries(calls as Record<string, Syscall>)
        .map(([name, call]) => callText(owner, name, call))
        .join("\n")}`,
  );
  return `# Syscalls

Generated from \`kernel/abi\` by \`npm run docs\`; a test fails when it is stale. Contract version ${ABI}.

A call is a NATS message to \`sys.<caller>.<owner>.<instance>.<call>\` with a MessagePack body and a reply subject below
\`_INBOX.<caller>.\`; \`<instance>\` is \`any\`, a name such as \`model-1\`, or \`all\`. Headers: ${Object.values(
    HEADERS,
  )
    .map((name) => `\`${name}\``)
    .join(", ")}.
Replies carry header \`type\`: \`accepted\` {instance, epoch}, \`chunk\`, and exactly one \`end\` or \`error\`.

## Errors

An error is \`{code, message, retryable, executed, retryAfterMs?}\`; the message says what to do next. The last column is the exit code of \`soma\`.

| code | meaning | retryable | executed | exit |
|---|---|---|---|---|
${errors.join("\n")}

## Stores

| name | kind | owner | limit | kept | when full | what |
|---|---|---|---|---|---|---|
${stores.join("\n")}

${owners.join("\n")}`;
}

export function asyncapi(): string {
  const channels: Schema = {};
  const operations: Schema = {};
  for (const [owner, name, call] of allSyscalls()) {
    const id = `${owner}.${name}`;
    const message = (payload: Schema) => ({ contentType: "application/msgpack", payload });
    channels[id] = {
      address: `sys.{caller}.${owner}.{instance}.${name}`,
      parameters: {
        caller: { description: "the authenticated caller" },
        instance: { description: "any, all, or an instance's name", default: "any" },
      },
      messages: { request: message(schema(call.input, "input")) },
    };
    channels[`${id}.reply`] = {
      address: null,
      messages: {
        ...(call.chunk ? { chunk: message(schema(call.chunk, "output")) } : {}),
        end: message(schema(call.output, "output")),
        error: { $ref: "#/components/messages/error" },
      },
    };
    operations[id] = {
      action: "receive",
      summary: call.what,
      channel: { $ref: `#/channels/${id}` },
      reply: { address: { location: "$message.header#/reply" }, channel: { $ref: `#/channels/${id}.reply` } },
      "x-kind": call.kind,
      "x-right": call.right,
      "x-idempotent": call.idempotent,
      "x-ttl": call.ttl,
    };
  }
  const error = z.object({
    code: z.enum(Object.keys(CODES) as [string, ...string[]]),
    message: z.string(),
    retryable: z.boolean(),
    executed: z.enum(["no", "maybe", "yes"]),
    retryAfterMs: z.number().optional(),
  });
  const document = {
    asyncapi: "3.0.0",
    info: {
      title: "Soma",
      version: String(ABI),
      description: "Syscalls of Soma over NATS.",
      license: { name: "Apache-2.0" },
    },
    defaultContentType: "application/msgpack",
    channels,
    operations,
    components: { messages: { error: { contentType: "application/msgpack", payload: schema(error, "output") } } },
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL("syscalls.md", import.meta.url), syscallsPage());
  writeFileSync(new URL("asyncapi.json", import.meta.url), asyncapi());
}
