// Owns the page that talks to a model: chat, translate, complete; text as it comes, and stopping it.
import { html } from "htm/preact";
import { useRef, useState } from "preact/hooks";
import { open } from "./live.js";
import { Page } from "./parts.js";
import { duration } from "./units.js";

const KINDS = { chat: "Chat", translate: "Translate", complete: "Complete" };

/** Events of an answer as they come; ends by throwing when `signal` aborts. */
async function* events(body, signal) {
  const answer = await fetch("/play", { method: "POST", body: JSON.stringify(body), signal });
  if (answer.status === 401) open.value = false;
  if (!answer.ok) throw new Error((await answer.json()).message);
  let rest = "";
  for await (const piece of pieces(answer.body.pipeThrough(new TextDecoderStream()).getReader())) {
    const lines = (rest + piece).split("\n\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line.slice("data: ".length));
  }
}

async function* pieces(reader) {
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

export function Playground() {
  const [kind, setKind] = useState("chat");
  const [turns, setTurns] = useState([]);
  const [text, setText] = useState("");
  const [status, setStatus] = useState("");
  const [busy, setBusy] = useState(false);
  const stop = useRef(undefined);

  const ask = async (event) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    const { model, input, seed, temperature, maxTokens, from, to, task } = form;
    const said = [...turns, { role: "user", content: input }];
    const what = {
      chat: { messages: said },
      translate: { text: input, from, to },
      complete: { text: input, ...(task ? { task } : {}) },
    };
    const body = { kind, model, seed: +seed, temperature: +temperature, maxTokens: +maxTokens, ...what[kind] };
    stop.current = new AbortController();
    setBusy(true);
    setText("");
    setStatus("asking");
    let made = "";
    const began = performance.now();
    try {
      for await (const { text, end, problem } of events(body, stop.current.signal)) {
        if (problem) throw new Error(`${problem.code}: ${problem.message}`);
        if (text) {
          if (made === "") setStatus(`first text after ${duration(performance.now() - began)}`);
          setText((made += text));
        }
        if (end)
          setStatus(
            `${end.finish}: ${end.usage.newTokens} tokens by ${end.model} in ${duration(performance.now() - began)}, seed ${end.seed}`,
          );
      }
    } catch (error) {
      setStatus(error.name === "AbortError" ? "stopped" : error.message);
    }
    if (kind === "chat" && made !== "") setTurns([...said, { role: "assistant", content: made }]);
    setBusy(false);
  };

  return html`<${Page} title="Playground">
    <form onSubmit=${ask}>
      <div class="row">
        <label>What <select value=${kind} onChange=${(event) => setKind(event.target.value)}>
          ${Object.entries(KINDS).map(([value, name]) => html`<option value=${value}>${name}</option>`)}
        </select></label>
        <label>Model <input name="model" defaultValue="default" required size="14" /></label>
        <label>Most tokens <input name="maxTokens" type="number" min="1" max="100000" defaultValue="256" required /></label>
        <label>Temperature <input name="temperature" type="number" min="0" max="10" step="0.1" defaultValue="0" required /></label>
        <label>Seed <input name="seed" type="number" min="0" max="4294967295" defaultValue="0" required /></label>
        ${kind === "translate" && html`<label>From <input name="from" defaultValue="en" required size="4" /></label><label>To <input name="to" defaultValue="zh" required size="4" /></label>`}
        ${kind === "complete" && html`<label>Task <input name="task" placeholder="continue" size="10" /></label>`}
      </div>
      ${kind === "chat" && turns.map(({ role, content }, i) => html`<p key=${i} class="answer"><b>${role}: </b>${content}</p>`)}
      <label>Text <textarea name="input" required></textarea></label>
      <div class="row">
        <button class="main" disabled=${busy}>Ask</button>
        <button type="button" disabled=${!busy} onClick=${() => stop.current.abort()}>Stop</button>
        ${kind === "chat" && html`<button type="button" disabled=${busy || turns.length === 0} onClick=${() => setTurns([])}>Forget</button>`}
      </div>
    </form>
    <h2>Answer</h2>
    <div class="card answer" data-answer>${text}</div>
    <p role="status" class="dim">${status}</p>
  <//>`;
}
