// Owns the frame: which page the address names, the way between pages, and login before all of them.
import { signal } from "@preact/signals";
import { html, render } from "htm/preact";
import { useEffect } from "preact/hooks";
import { Actors } from "./actors.js";
import { Apps } from "./apps.js";
import { Audit } from "./audit.js";
import { Devices } from "./devices.js";
import { Jobs } from "./jobs.js";
import { askSession, open, post } from "./live.js";
import { enterByAddress, Login } from "./login.js";
import { Models } from "./models.js";
import { Overview } from "./overview.js";
import { Playground } from "./playground.js";
import { Queue } from "./queue.js";
import { Traces } from "./traces.js";

const PAGES = {
  overview: Overview,
  actors: Actors,
  queue: Queue,
  devices: Devices,
  models: Models,
  jobs: Jobs,
  apps: Apps,
  traces: Traces,
  audit: Audit,
  playground: Playground,
};

/** `#/actors/model-1`: the page and what of it. */
const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
const route = signal(read());
addEventListener("hashchange", () => {
  route.value = read();
});

const title = (name) => name[0].toUpperCase() + name.slice(1);

function Frame() {
  const [wanted, ...rest] = route.value;
  const name = Object.hasOwn(PAGES, wanted) ? wanted : "overview";
  useEffect(() => {
    document.title = `${title(name)} - Soma`;
    // Whoever hears the page instead of seeing it is taken to what is new.
    document.getElementById("title")?.focus({ preventScroll: true });
  }, [name]);
  if (open.value === undefined) return null;
  if (!open.value) return html`<${Login} />`;
  const leave = () => post("/logout").finally(() => (open.value = false));
  return html`<div class="frame">
    <nav aria-label="Pages">
      <a class="skip" href="#title" onClick=${(event) => {
        event.preventDefault();
        document.getElementById("title").focus();
      }}>Skip to content</a>
      <strong>Soma</strong>
      <ul>
        ${Object.keys(PAGES).map(
          (page) => html`<li key=${page}>
          <a href="#/${page}" aria-current=${page === name ? "page" : undefined}>${title(page)}</a>
        </li>`,
        )}
        <li><button class="link" onClick=${leave}>Log out</button></li>
      </ul>
    </nav>
    <main><${PAGES[name]} key=${name} rest=${rest} /></main>
  </div>`;
}

await enterByAddress();
await askSession();
render(html`<${Frame} />`, document.getElementById("soma"));
