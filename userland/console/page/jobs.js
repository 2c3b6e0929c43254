// Owns the page of jobs: how far each is, and its loss as it falls. Ending one is for the shell.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { LossPlot } from "./plot.js";
import { count, date, duration } from "./units.js";

const ENDED = ["done", "failed", "canceled", "setAside"];

export function Jobs({ rest: [job] }) {
  const frame = useFeed(job === undefined ? "jobs" : `jobs?curve=${encodeURIComponent(job)}`);
  const { jobs = [], curve = [] } = frame.value ?? {};
  const shown = jobs.find(({ id }) => id === job);
  const rows = jobs.map((j) => ({
    key: j.id,
    cells: [
      html`<a href="#/jobs/${j.id}" aria-current=${j.id === job ? "true" : undefined}>${j.id}</a>`,
      html`<${State}>${j.state}<//>`,
      j.owner,
      j.model,
      j.progress ? `${count(j.progress.step)} of ${count(j.progress.steps)}` : "",
      j.progress?.loss.toFixed(3) ?? "",
      ENDED.includes(j.state) ? "" : duration(j.progress?.etaMs),
      date(j.submittedAt),
      j.error ?? "",
    ],
  }));
  return html`<${Page} title="Jobs" frame=${frame}>
    <${Table} label="Jobs" empty="there were no jobs yet" heads=${["Job", "State", "For", "Model", ">Step", ">Loss", ">Left", "Since", "~Error"]} rows=${rows} />
    ${
      job &&
      html`<h2>Loss of ${job}</h2>
      ${curve.length > 0 ? html`<${LossPlot} curve=${curve} label="Loss of job ${job}" /><p class="dim" data-points=${curve.length}>${curve.length} points, step ${curve.at(-1).step}${shown && !ENDED.includes(shown.state) && `; to end it: soma job cancel ${job}`}</p>` : html`<p class="dim">no step is done yet</p>`}`
    }
  <//>`;
}
