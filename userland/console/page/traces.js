// Owns the page of traces: calls that were kept, and where the time of one went.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { clock, duration } from "./units.js";

/** What a span is spent on, for its colour; the rest is services. */
const COLOR = { prefill: "c0", decode: "c1", queue: "c2", wait: "c2", load: "c3", quantum: "c4", run: "c4" };

export function Traces({ rest: [id] }) {
  const frame = useFeed("traces");
  const rows = (frame.value ?? []).map((c) => ({
    key: c.span,
    cells: [
      clock(c.at),
      html`<a href="#/traces/${c.trace}" aria-current=${c.trace === id ? "true" : undefined}>${c.name}</a>`,
      html`<${State}>${c.code ?? "unfinished"}<//>`,
      duration(c.ms),
      c.principal ?? "",
      c.id ?? "",
    ],
  }));
  return html`<${Page} title="Traces" frame=${frame}>
    ${id && html`<${Trace} key=${id} id=${id} />`}
    <h2>Calls that were kept: sampled, failed and slow ones</h2>
    <${Table} label="Traces" heads=${["At", "Call", "Outcome", ">Took", "For", "Id"]} rows=${rows} />
  <//>`;
}

/** Each span below its parent, by time. */
function tree(spans) {
  const known = new Set(spans.map(({ span }) => span));
  const sorted = [...spans].sort((a, b) => a.at - b.at);
  const walk = (parent, depth) =>
    sorted
      .filter((span) => (known.has(span.parent) ? span.parent : "") === parent)
      .flatMap((span) => [{ span, depth }, ...walk(span.span, depth + 1)]);
  return walk("", 0);
}

function Trace({ id }) {
  const { value, problem } = useFeed(`trace?id=${encodeURIComponent(id)}`);
  if (value === undefined)
    return html`<p class=${problem ? "problem" : "dim"} role="status">${problem?.message ?? "loading"}</p>`;
  const { spans } = value;
  const start = Math.min(...spans.map(({ at }) => at));
  const length = Math.max(0.001, Math.max(...spans.map(({ at, ms }) => at + ms)) - start);
  const percent = (ms) => `${((100 * ms) / length).toFixed(2)}%`;
  const rows = tree(spans).map(({ span, depth }) => ({
    key: span.span,
    cells: [
      "  ".repeat(depth) + span.name,
      span.actor,
      html`<div class="fall"><i class=${COLOR[span.name] ?? "c5"} style=${{ left: percent(span.at - start), width: percent(span.ms) }}></i></div>`,
      duration(span.ms),
      span.code ?? "",
      Object.entries(span.figures ?? {})
        .map(([name, figure]) => `${name} ${figure}`)
        .join(", "),
    ],
  }));
  return html`<section aria-label="Trace ${id}">
    <h2>Trace ${id}</h2>
    <${Table} label="Spans" heads=${["Span", "Actor", "When", ">Took", "Outcome", "~Figures"]} rows=${rows} />
  </section>`;
}
