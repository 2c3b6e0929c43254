// Owns the page of models: versions, and of one its record and how its loss fell.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { LossPlot } from "./plot.js";
import { bytes, count, date } from "./units.js";

export function Models({ rest: [ref] }) {
  const frame = useFeed("models");
  const rows = (frame.value?.models ?? []).map((m) => [
    html`<a href="#/models/${encodeURIComponent(`${m.name}@${m.version}`)}">${m.name}@${m.version}</a>`,
    m.aliases.join(", "),
    html`<${State}>${m.state}<//>`,
    m.architecture,
    count(m.parameters),
    bytes(m.bytes),
    m.loss?.toFixed(3) ?? "",
    date(m.createdAt),
  ]);
  return html`<${Page} title="Models" frame=${frame}>
    <${Table} label="Models" heads=${["Model", "Aliases", "State", "Architecture", ">Parameters", ">Size", ">Loss", "Made"]} rows=${rows} />
    ${ref && html`<${Model} key=${ref} name=${ref} />`}
  <//>`;
}

function Model({ name }) {
  const { value, problem } = useFeed(`model?ref=${encodeURIComponent(name)}`);
  if (value === undefined)
    return html`<p class=${problem ? "problem" : "dim"} role="status">${problem?.message ?? "loading"}</p>`;
  const { curve = [], eval: figures = {}, ...record } = value.record;
  return html`<section aria-label=${name}>
    <h2>${name}</h2>
    ${record.note && html`<p>${record.note}</p>`}
    ${curve.length > 0 && html`<${LossPlot} curve=${curve} label="Loss of ${name}" />`}
    <h2>Measured on</h2>
    <${Table} label="Evaluation" empty="it was not measured" heads=${["Split", ">Cases", ">Exact", ">chrF", ">Loss"]}
      rows=${Object.entries(figures).map(([split, f]) => [split, f.cases, `${(100 * f.exactMatch).toFixed(1)} %`, f.chrf.toFixed(1), f.loss.toFixed(3)])} />
    <details><summary>Record</summary><pre class="scroll" tabindex="0">${JSON.stringify(record, null, 2)}</pre></details>
  </section>`;
}
