// Owns a statechart as a picture: states laid out by dagre, transitions with their events, the current states marked.
import { Graph, layout } from "@dagrejs/dagre";
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";

const text = (words) => 12 + 7 * words.length;

/** Paths of all states that are active, of a state value as XState writes it: "a.b" for b in a. */
export function activePaths(value, above = "") {
  if (typeof value === "string") return [above + value];
  return Object.entries(value ?? {}).flatMap(([key, inner]) => [above + key, ...activePaths(inner, `${above}${key}.`)]);
}

/** All states below the root, by path; a transition for each pair of states, with all events that lead along it. */
export function flatten(definition) {
  const nodes = new Map();
  const arrows = new Map();
  const walk = (state, path, parent) => {
    if (path !== "")
      nodes.set(path, {
        path,
        parent,
        key: state.key,
        type: state.type,
        initial: state.initial,
        leaf: state.states.length === 0,
      });
    for (const { event, targets, guard } of state.on)
      for (const target of targets) {
        // From the root it may come from anywhere: listed, not drawn.
        const id = `${path} ${target}`;
        const arrow = arrows.get(id) ?? { from: path, to: target, events: [] };
        arrow.events.push(name(event) + (guard ? ` [${guard}]` : ""));
        arrows.set(id, arrow);
      }
    for (const inner of state.states) walk(inner, path === "" ? inner.key : `${path}.${inner.key}`, path);
  };
  walk(definition, "", undefined);
  return { nodes, arrows: [...arrows.values()] };
}

/** XState's own events are long: done, failed, after so many ms. */
function name(event) {
  return event
    .replace(/^xstate\.done\..*/, "done")
    .replace(/^xstate\.error\..*/, "failed")
    .replace(/^xstate\.after\.([^.]+).*/, "after $1");
}

/** Dagre draws no arrow to or from a group: its first state stands for it. */
function leafOf(nodes, path) {
  const node = nodes.get(path);
  if (node === undefined || node.leaf) return path;
  const inner = [...nodes.values()].filter(({ parent }) => parent === path);
  return leafOf(nodes, (inner.find(({ key }) => key === node.initial) ?? inner[0]).path);
}

function place({ nodes, arrows }) {
  const graph = new Graph({ compound: true, multigraph: true });
  graph.setGraph({ rankdir: "TB", nodesep: 26, ranksep: 34, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { path, key, leaf } of nodes.values()) graph.setNode(path, leaf ? { width: text(key), height: 28 } : {});
  for (const { path, parent } of nodes.values()) if (parent) graph.setParent(path, parent);
  for (const arrow of arrows) {
    const [from, to] = [leafOf(nodes, arrow.from), leafOf(nodes, arrow.to)];
    if (arrow.from === "" || !nodes.has(to)) continue;
    const label = short(arrow.events);
    graph.setEdge(
      from,
      to,
      { label, width: 5.6 * label.length, height: 12, labelpos: "c" },
      `${arrow.from} ${arrow.to}`,
    );
  }
  layout(graph);
  return graph;
}

const short = (events) =>
  events.length > 2 ? `${events.slice(0, 2).join(", ")} +${events.length - 2}` : events.join(", ");
const line = (points) => points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join(" ");

/** `definition` and `state` of an actor, as inspect gives them. */
export function Statechart({ id, definition, state }) {
  const key = JSON.stringify(definition);
  const { nodes, arrows, graph } = useMemo(() => {
    const flat = flatten(JSON.parse(key));
    return { ...flat, graph: place(flat) };
  }, [key]);
  const active = activePaths(state);
  const { width, height } = graph.graph();
  const groupsFirst = [...nodes.values()].sort((a, b) => a.path.split(".").length - b.path.split(".").length);
  const anywhere = arrows.filter(({ from }) => from === "");
  const arrow = `arrow-${id}`;
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="statechart of ${id}">
      <svg class="statechart" role="img" aria-label="${id} is in ${active.at(-1)}" width=${width} height=${height} viewBox="0 0 ${width} ${height}">
        <defs><marker id=${arrow} viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" /></marker></defs>
        ${groupsFirst.map(({ path, key, leaf, type }) => {
          const { x, y, width: w, height: h } = graph.node(path);
          const now = active.includes(path) ? (leaf ? "now" : "now outer") : "";
          return html`<g key=${path} class=${now} data-state=${path}>
            <rect class=${leaf ? (type === "final" ? "final" : "") : "group"} x=${x - w / 2} y=${y - h / 2} width=${w} height=${h} rx="6" />
            <text x=${x} y=${leaf ? y : y - h / 2 + 9}>${key}</text>
          </g>`;
        })}
        ${graph.edges().map((edge) => {
          const { points, x, y, label } = graph.edge(edge);
          return html`<g key=${edge.v + edge.w + edge.name}>
            <path d=${line(points)} marker-end="url(#${arrow})" />
            <text class="event" x=${x} y=${y}>${label}</text>
          </g>`;
        })}
      </svg>
    </div>
    ${anywhere.length > 0 && html`<p class="dim">From any state: ${anywhere.map(({ events, to }) => `${events.join(", ")} to ${to || "itself"}`).join("; ")}</p>`}
  `;
}
