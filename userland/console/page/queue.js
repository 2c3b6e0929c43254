// Owns the page of the scheduler: what runs and waits and why, and each principal's share over time.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { useFeed } from "./live.js";
import { Page, Table } from "./parts.js";
import { Plot } from "./plot.js";
import { count, duration } from "./units.js";

/** Readings that are drawn, one a second; they stay while one looks at other pages. */
const KEPT = 300;
const past = [];

/** Tokens per second of each principal between one reading and the next; nothing where a restart put the counters back. */
function rates(readings, principal) {
  const tokens = ({ shares }) => shares.find((share) => share.principal === principal)?.tokens ?? 0;
  return readings.map((reading, i) => {
    const before = readings[i - 1];
    if (before === undefined || tokens(reading) < tokens(before)) return null;
    return (1_000 * (tokens(reading) - tokens(before))) / (reading.at - before.at);
  });
}

export function Queue() {
  const [readings, setReadings] = useState([...past]);
  const frame = useFeed("queue", (value) => {
    past.push(value);
    if (past.length > KEPT) past.shift();
    setReadings([...past]);
  });
  const { sequences = [], shares = [], policy } = frame.value ?? {};
  const times = readings.map(({ at }) => at / 1_000);
  const states = [...new Set(readings.flatMap(({ sequences }) => sequences.map(({ state }) => state)))].sort();
  const counts = states.map((wanted) =>
    readings.map((r) => r.sequences.filter(({ state }) => state === wanted).length),
  );
  const busiest = [...shares]
    .sort((a, b) => b.tokens - a.tokens)
    .slice(0, 6)
    .map(({ principal }) => principal);
  const total = shares.reduce((sum, { tokens }) => sum + tokens, 0);
  return html`<${Page} title="Queue" frame=${frame}>
    <p>Policy: <b>${policy}</b></p>
    <h2>Sequences by state</h2>
    <${Plot} label="Sequences by state" time lines=${states} data=${[times, ...counts]} />
    <h2>Tokens per second</h2>
    <${Plot} label="Tokens per second" time lines=${busiest} data=${[times, ...busiest.map((one) => rates(readings, one))]} />
    <h2>Shares</h2>
    <${Table}
      label="Shares"
      heads=${["For", ">Weight", ">Tokens", ">Of all", ">Virtual time"]}
      rows=${shares.map((s) => [s.principal, s.weight, count(s.tokens), total ? `${Math.round((100 * s.tokens) / total)} %` : "", count(Math.round(s.virtualTime))])}
    />
    <h2>Running and waiting</h2>
    <${Table}
      label="Running and waiting"
      empty="nothing runs or waits"
      heads=${["Call", "For", "Model", "State", "Device", ">Tokens", ">Waited", "~Why"]}
      rows=${sequences.map((s) => [s.id, s.principal, s.model, s.state, s.device ?? "", `${s.newTokens} of ${s.maxNew}`, duration(s.waitedMs), s.why])}
    />
  <//>`;
}
