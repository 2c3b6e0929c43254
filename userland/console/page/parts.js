// Owns the pieces that every page is made of: a titled page that says what is wrong, tables, cards.
import { html } from "htm/preact";

/** `frame` as useFeed gives it; children are shown once there is a value. */
export function Page({ title, frame, children }) {
  return html`
    <h1 id="title" tabindex="-1">${title}</h1>
    ${frame?.problem && html`<p class="problem" role="status">${frame.problem.code}: ${frame.problem.message}</p>`}
    ${frame && frame.value === undefined ? !frame.problem && html`<p class="dim">loading</p>` : children}
  `;
}

/** `heads`: a leading ">" aligns right. `rows`: cells, or {key, cells, mark}. `empty` is said when there are none. */
export function Table({ label, heads, rows, empty = "none" }) {
  if (rows.length === 0) return html`<p class="dim">${empty}</p>`;
  const right = heads.map((head) => (head.startsWith(">") ? "n" : head.startsWith("~") ? "wrap" : ""));
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table>
      <thead><tr>${heads.map((head, i) => html`<th scope="col" class=${right[i]}>${head.replace(/^[>~]/, "")}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row) => {
          const { key, cells } = Array.isArray(row) ? { key: undefined, cells: row } : row;
          return html`<tr key=${key}>${cells.map((cell, i) => html`<td class=${right[i]}>${cell}</td>`)}</tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

export const Card = ({ what, children }) => html`<div class="card"><span>${what}</span><b>${children}</b></div>`;

const MOOD = {
  ready: "good",
  done: "good",
  OK: "good",
  active: "good",
  resident: "good",
  failed: "bad",
  down: "bad",
  quarantined: "bad",
};
/** A state as a word, coloured besides. */
export const State = ({ children }) =>
  html`<span class=${MOOD[children] ?? (/^E[A-Z]+$/.test(children) ? "bad" : "")}>${children}</span>`;
