// Owns the first page: what runs, what is loaded, what waits.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Card, Page, State, Table } from "./parts.js";
import { bytes, count, duration } from "./units.js";

export function Overview() {
  const frame = useFeed("overview");
  const { system, processes = [], models = [], device, jobs = [], queue } = frame.value ?? {};
  const services = processes.filter(({ kind }) => kind === "service");
  const running = jobs.filter(({ state }) => !["done", "failed", "canceled", "setAside"].includes(state));
  const rows = processes.map((p) => ({
    key: p.id,
    cells: [
      p.kind === "service" || p.kind === "kernel" ? html`<a href="#/actors/${p.id}">${p.id}</a>` : p.id,
      p.kind,
      html`<${State}>${p.state}<//>`,
      p.epoch || "",
      p.restarts,
      duration(p.uptimeMs),
      bytes(p.rssBytes),
      p.note ?? "",
    ],
  }));
  return html`<${Page} title="Overview" frame=${frame}>
    <div class="cards">
      <${Card} what="services ready">${services.filter(({ state }) => state === "ready").length} of ${services.length}<//>
      <${Card} what="restarts">${services.reduce((sum, { restarts }) => sum + restarts, 0)}<//>
      <${Card} what="sequences">${queue ? count(queue.sequences.length) : "unknown"}<//>
      <${Card} what="models">${models.length}<//>
      <${Card} what="resident">${device ? device.models.length : "unknown"}<//>
      <${Card} what="jobs at work">${running.length}<//>
      <${Card} what="policy">${queue?.policy ?? "unknown"}<//>
      <${Card} what="driver">${device?.drivers.find(({ chosen }) => chosen)?.driver ?? "unknown"}<//>
    </div>
    <h2>Processes</h2>
    <${Table} label="Processes" heads=${["Process", "Kind", "State", ">Epoch", ">Restarts", ">Up", ">Memory", "~Note"]} rows=${rows} />
    <p class="dim">Soma ${system?.version}, ABI ${system?.abi}, broker ${system?.broker}, Node ${system?.node}, ${system?.platform}</p>
  <//>`;
}
