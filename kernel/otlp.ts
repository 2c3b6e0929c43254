// Owns the export of traces by OTLP/HTTP, for the whole system in one place. Loaded only where an endpoint is set.
import { type Attributes, type HrTime, SpanKind, SpanStatusCode, TraceFlags } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, type ReadableSpan } from "@opentelemetry/sdk-trace-node";
import { z } from "zod";
import { tryDecode } from "./abi/codec.ts";
import { subjects } from "./abi/subjects.ts";
import { traceSpan } from "./abi/syscalls/kernel.ts";
import type { Bus } from "./ipc/bus.ts";
import type { Span } from "./ipc/trace.ts";

/** Hears the spans of every service and sends them on in batches; an endpoint that is away loses them, and holds up nobody. */
export function exportTraces(bus: Bus, version: string): { stop: () => Promise<void> } {
  // Endpoint, headers, timeouts and batching are OpenTelemetry's own OTEL_ variables.
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const resources = new Map<string, Resource>();
  const resourceOf = (actor: string) => {
    const known = resources.get(actor) ?? resourceFromAttributes(describe(actor, version));
    resources.set(actor, known);
    return known;
  };
  const subscription = bus.subscribe(subjects.event("*", "spans"), ({ subject, data }) => {
    const [, actor] = subject.split(".");
    // The broker vouches for the subject: nobody speaks for another.
    for (const span of readSpans(data))
      if (span.actor === actor) processor.onEnd(readable(span, resourceOf(span.actor), version));
  });
  return {
    stop: async () => {
      subscription.unsubscribe();
      await processor.shutdown();
    },
  };
}

/** A batch as services publish it; none for garbage, which whoever stole a service's key may send. */
export function readSpans(data: Uint8Array): Span[] {
  return (z.array(traceSpan).safeParse(tryDecode(data)).data ?? []) as Span[];
}

function describe(actor: string, version: string): Attributes {
  const name = `soma-${actor.replace(/-\d+$/, "")}`;
  return { "service.name": name, "service.instance.id": actor, "service.version": version };
}

/** As OpenTelemetry's exporters read a span that has ended. */
export function readable(span: Span, resource: Resource, version: string): ReadableSpan {
  const { trace: traceId, span: spanId, parent, name, at, ms, code, id, caller, principal, epoch, figures = {} } = span;
  const context = { traceId, traceFlags: TraceFlags.SAMPLED };
  const own: Attributes = { "soma.epoch": epoch };
  const words = { id, caller, principal, code };
  for (const [key, value] of Object.entries(words)) if (value !== undefined) own[`soma.${key}`] = value;
  for (const [key, value] of Object.entries(figures)) own[`soma.${key}`] = value;
  const failed = code !== undefined && code !== "OK";
  return {
    name,
    // A request is answered for somebody; all else is within.
    kind: code === undefined ? SpanKind.INTERNAL : SpanKind.SERVER,
    spanContext: () => ({ ...context, spanId }),
    ...(parent === "" ? {} : { parentSpanContext: { ...context, spanId: parent } }),
    startTime: hrTime(at),
    endTime: hrTime(at + ms),
    duration: hrTime(ms),
    status: failed ? { code: SpanStatusCode.ERROR, message: code } : { code: SpanStatusCode.UNSET },
    attributes: own,
    resource,
    instrumentationScope: { name: "soma", version },
    ...{ links: [], events: [], ended: true, droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 },
  };
}

/** ms as [seconds, nanoseconds]. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.round((ms - 1_000 * seconds) * 1e6)];
}
