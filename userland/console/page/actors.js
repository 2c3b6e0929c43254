// Owns the page of actors: each as its statechart, live, with its last transitions and what it holds.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, Table } from "./parts.js";
import { activePaths, Statechart } from "./statechart.js";
import { clock } from "./units.js";

const RECENT = 15;

export function Actors({ rest: [instance = "kernel", wanted] }) {
  const frame = useFeed("actors");
  const processes = frame.value ?? [];
  const shown = processes.find(({ id }) => id === instance);
  const actors = shown?.actors ?? [];
  // A service that is down is still an actor of the kernel's: what becomes of it is seen there.
  const keeper = processes[0]?.actors.find(({ id }) => id === instance);
  const actor = actors.find(({ id }) => id === wanted) ?? actors[0];
  const tab = (path, name, current) =>
    html`<a key=${path} href="#/actors/${path}" aria-current=${current ? "true" : undefined}>${name}</a>`;
  return html`<${Page} title="Actors" frame=${frame}>
    <nav class="tabs" aria-label="Processes">${processes.map(({ id, problem }) => tab(id, problem ? `${id} (away)` : id, id === instance))}</nav>
    ${shown === undefined && html`<p class="problem" role="status">there is no ${instance} now</p>`}
    ${keeper && html`<${Actor} actor=${keeper} title="${instance} as the kernel supervises it" />`}
    ${shown?.problem && html`<p class="problem" role="status">${shown.problem}</p>`}
    ${
      actors.length > 1 &&
      html`<h2>Actors in ${instance}</h2>
      <nav class="tabs" aria-label="Actors">${actors.map(({ id }) => tab(`${instance}/${encodeURIComponent(id)}`, id, id === actor.id))}</nav>`
    }
    ${actor && html`<${Actor} actor=${actor} title=${actor.id} />`}
  <//>`;
}

function Actor({ actor: { id, state, definition, transitions }, title }) {
  const rows = transitions
    .slice(-RECENT)
    .reverse()
    .map(({ at, event, from, to }) => [clock(at), event, from, to]);
  return html`<section aria-label=${title}>
    <h2>${title}</h2>
    <p>State: <b data-actor=${id}>${activePaths(state).join(", ")}</b></p>
    ${definition && html`<${Statechart} id=${id} definition=${definition} state=${state} />`}
    <h2>Last transitions</h2>
    <${Table} label="Last transitions of ${id}" heads=${["At", "Event", "From", "To"]} rows=${rows} />
    <p class="dim">What it holds is for the shell alone: soma inspect ${id}</p>
  </section>`;
}
