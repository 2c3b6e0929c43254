// Owns the page of devices: what fills their memory, how many KV blocks are in use, which driver runs and why.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { bytes, count, duration } from "./units.js";

/** Pieces of a whole as one bar, and what each is in words. `pieces`: [name, amount]; the rest is free. */
function Bar({ label, pieces, whole, show }) {
  const used = pieces.reduce((sum, [, amount]) => sum + amount, 0);
  const all = [...pieces.map((piece, i) => [...piece, `c${i % 6}`]), ["free", Math.max(0, whole - used), "free"]];
  return html`
    <div class="bar" role="img" aria-label="${label}: ${all.map(([name, amount]) => `${name} ${show(amount)}`).join(", ")}">
      ${all.map(([name, amount, color]) => html`<i key=${name} class=${color} style=${{ width: `${(100 * amount) / Math.max(whole, used, 1)}%` }}></i>`)}
    </div>
    <p>${all.map(([name, amount, color]) => html`<span key=${name}><i class="key ${color}"></i>${name} ${show(amount)}   </span>`)}</p>
  `;
}

const blocks = (n) => `${count(n)} blocks`;

export function Devices() {
  const frame = useFeed("devices");
  const { devices = [], memory = [], parts = [] } = frame.value ?? {};
  return html`<${Page} title="Devices" frame=${frame}>
    ${devices.map((device) => {
      const budget = memory.find((one) => one.device === device.device);
      return html`<section key=${device.id} aria-label=${device.device}>
        <h2>${device.device} (${device.id})</h2>
        <p>${device.cores} cores, ${bytes(device.memoryBytes)} memory, ${bytes(device.budgetBytes)} for models, ${device.gpus.length} GPUs, ${device.trainings} trainings</p>
        ${budget && html`<${Bar} label="Memory" whole=${budget.totalBytes} show=${bytes} pieces=${budget.holders.map((h) => [`${h.holder} (${h.kind})`, h.bytes])} />`}
        ${device.models.map(
          (model) => html`<div key=${model.model}>
          <h2>KV blocks of ${model.model}</h2>
          <${Bar} label="KV blocks of ${model.model}" whole=${model.blocks} show=${blocks} pieces=${[["in use", model.blocks - model.freeBlocks]]} />
          <p class="dim">${model.driver}, ${model.numerics}, weights ${bytes(model.weightBytes)}, KV ${bytes(model.kvBytes)}, ${model.sequences} sequences, context ${count(model.context)}</p>
        </div>`,
        )}
        <h2>Drivers</h2>
        <${Table} label="Drivers" heads=${["Driver", "State", "~Why"]}
          rows=${device.drivers.map((d) => [d.driver, html`<${State}>${d.chosen ? "active" : d.ok ? "possible" : "not here"}<//>`, d.why])} />
      </section>`;
    })}
    <h2>Parts</h2>
    <${Table} label="Parts" heads=${["Device", "Part", ">Share", ">Memory", ">Blocks", ">Leased", ">Sequences", ">Time used"]}
      rows=${parts.map((p) => [p.device, p.part || "whole", `${Math.round(100 * p.share)} %`, `${Math.round(100 * p.memory)} %`, p.blocks, p.leased, p.sequences, duration(p.usedMs)])} />
  <//>`;
}
