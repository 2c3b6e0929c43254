// Owns the page of the audit: who called what, with which outcome.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { clock, duration } from "./units.js";

export function Audit() {
  const [filter, setFilter] = useState({ app: "", code: "" });
  const [own, setOwn] = useState(false);
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== ""));
  const frame = useFeed(`audit?${query}`);
  const apply = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    setFilter({ app: form.get("app").trim(), code: form.get("code").trim() });
  };
  const records = (frame.value ?? []).filter(({ principal }) => own || principal !== "console");
  const rows = records.map((r) => ({
    key: `${r.actor}.${r.epoch}.${r.seq}`,
    cells: [
      clock(r.at),
      r.what === "call" ? r.call : r.what === "lost" ? `${r.times} records lost` : `epoch ${r.epoch} ${r.what}s`,
      r.code ? html`<${State}>${r.code}<//>` : "",
      duration(r.ms),
      r.principal && r.principal !== r.caller ? `${r.principal} by ${r.caller}` : (r.caller ?? ""),
      r.actor,
      r.tokens ?? "",
      r.times > 1 ? r.times : "",
    ],
  }));
  return html`<${Page} title="Audit" frame=${frame}>
    <form class="row" onSubmit=${apply}>
      <label>For or by <input name="app" value=${filter.app} /></label>
      <label>Outcome <input name="code" value=${filter.code} placeholder="EPERM" size="10" /></label>
      <button>Show</button>
      <label><input type="checkbox" checked=${own} onChange=${(event) => setOwn(event.target.checked)} /> this console's own reads</label>
    </form>
    <${Table} label="Audit" heads=${["At", "Call", "Outcome", ">Took", "Who", "Answered by", ">Tokens", ">Times"]} rows=${rows} />
  <//>`;
}
