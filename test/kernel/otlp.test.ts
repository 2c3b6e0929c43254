// A collector that stands in for a real one: what a system sends to it over loopback, as it reads it.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../kernel/abi/codec.ts";
import { readSpans } from "../../kernel/otlp.ts";
import { AUTH, STANDIN, System, until } from "../helpers/system.ts";

interface Sent {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  status: { code: number; message?: string };
  attributes: { key: string; value: Record<string, unknown> }[];
  service: string;
}

const received: Sent[] = [];
const paths = new Set<string>();
const collector = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    paths.add(request.url!);
    const { resourceSpans } = JSON.parse(body) as {
      resourceSpans: { resource: { attributes: Sent["attributes"] }; scopeSpans: { spans: Sent[] }[] }[];
    };
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = String(resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue);
      received.push(...scopeSpans.flatMap(({ spans }) => spans.map((span) => ({ ...span, service }))));
    }
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
});
let system: System;
test.after(async () => {
  await system?.stop();
  collector.close();
});

test("spans of every service reach the endpoint that is set, with their parents, outcomes and times", async () => {
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const { port } = collector.address() as AddressInfo;
  const manifest = [
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
  ] as const;
  system = new System(manifest, {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_BSP_SCHEDULE_DELAY: "100",
  });
  const client = await system.up(["auth-1", "memory-1"]);
  const trace = "ab".repeat(16);
  const parent = "cd".repeat(8);
  const from = Date.now();
  await client.call("memory.stat", {}, { traceparent: `00-${trace}-${parent}-01` });
  await client.call("kernel.kill", { id: "nobody" }, { traceparent: `00-${trace}-${parent}-01` }).then(
    () => assert.unreachable("there is nobody to kill"),
    () => {},
  );
  const of = (name: string) => received.find((span) => span.name === name && span.traceId === trace);
  await until("both spans are there", () => of("memory.stat") !== undefined && of("kernel.kill") !== undefined, system);
  const [stat, kill] = [of("memory.stat")!, of("kernel.kill")!];
  assert.equal([...paths], ["/v1/traces"]);
  assert.equal([stat.service, kill.service], ["soma-memory", "soma-kernel"]);
  assert.equal([stat.parentSpanId, stat.kind, stat.status.code], [parent, 2, 0]);
  assert.equal([kill.status.code, kill.status.message], [2, "ENOENT"]);
  assert.ok(stat.attributes.some(({ key, value }) => key === "soma.caller" && value.stringValue === "person"));
  const [began, ended] = [Number(stat.startTimeUnixNano) / 1e6, Number(stat.endTimeUnixNano) / 1e6];
  assert.ok(began > from - 1_000 && began <= ended && ended < Date.now() + 1_000, `${from} ${began} ${ended}`);
});

test("garbage instead of spans is dropped, and its sender crashes no kernel", () => {
  const span = { trace: "ab", span: "cd", parent: "", name: "memory.stat", actor: "memory-1", epoch: 1, at: 1, ms: 1 };
  assert.equal(readSpans(encode([span])), [span]);
  const garbage = [undefined, 7, "x", {}, [7], [null], [{ ...span, at: "now" }], [{ ...span, figures: [[]] }]];
  for (const value of garbage) assert.equal(readSpans(encode(value ?? null)), [], JSON.stringify(value));
  assert.equal(readSpans(Uint8Array.of(0xc1)), [], "no MessagePack");
});

test.run();
