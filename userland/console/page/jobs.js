// Owns the page of jobs: how far each is, its loss as it falls, and ending it.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { post, useFeed } from "./live.js";
import { Page, State, Table } from "./parts.js";
import { LossPlot } from "./plot.js";
import { count, date, duration } from "./units.js";

const ENDED = ["done", "failed", "canceled", "setAside"];

export function Jobs({ rest: [job] }) {
  const frame = useFeed(job === undefined ? "jobs" : `jobs?curve=${encodeURIComponent(job)}`);
  const [problem, setProblem] = useState("");
  const { jobs = [], curve = [] } = frame.value ?? {};
  const stop = async (id) => {
    setProblem("");
    await post(`/jobs/${encodeURIComponent(id)}/stop`).catch((error) => setProblem(error.message));
  };
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
      ENDED.includes(j.state)
        ? ""
        : html`<button onClick=${() => stop(j.id)} aria-label="Cancel job ${j.id}">Cancel</button>`,
      j.error ?? "",
    ],
  }));
  return html`<${Page} title="Jobs" frame=${frame}>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <${Table} label="Jobs" empty="there were no jobs yet" heads=${["Job", "State", "For", "Model", ">Step", ">Loss", ">Left", "Since", "", "~Error"]} rows=${rows} />
    ${
      job &&
      html`<h2>Loss of ${job}</h2>
      ${curve.length > 0 ? html`<${LossPlot} curve=${curve} label="Loss of job ${job}" /><p class="dim" data-points=${curve.length}>${curve.length} points, step ${curve.at(-1).step}</p>` : html`<p class="dim">no step is done yet</p>`}`
    }
  <//>`;
}
