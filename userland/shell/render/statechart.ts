// Owns the picture of a statechart: a tree with the current states marked, or Mermaid source. Pure.
import { z } from "zod";

/** As `inspect` gives it; see kernel/ipc/recorder.ts. */
export interface StateNode {
  key: string;
  initial?: string | undefined;
  on: { event: string; targets: string[]; guard?: string | undefined }[];
  states: StateNode[];
}

const stateNode: z.ZodType<StateNode> = z.lazy(() =>
  z.object({
    key: z.string(),
    initial: z.string().optional(),
    on: z.array(z.object({ event: z.string(), targets: z.array(z.string()), guard: z.string().optional() })),
    states: z.array(stateNode),
  }),
);

/** Undefined where an actor has no statechart. */
export function readChart(definition: unknown): StateNode | undefined {
  return stateNode.safeParse(definition).data;
}

/** Paths of the states that an actor is in: `resident.idle`, parallel ones joined with "+". */
export function activePaths(state: string): Set<string> {
  const paths = state.split("+").flatMap((path) => {
    const keys = path.split(".");
    return keys.map((_, i) => keys.slice(0, i + 1).join("."));
  });
  return new Set(paths);
}

/** Each state on a line, `>` before the current ones, its transitions below it. `mark` paints a current line. */
export function chartTree(root: StateNode, state: string, mark: (line: string) => string): string {
  const active = activePaths(state);
  const lines: string[] = [];
  const visit = (node: StateNode, path: string, depth: number) => {
    const indent = "  ".repeat(depth);
    const line = `${active.has(path) ? ">" : " "} ${indent}${node.key}`;
    lines.push(active.has(path) ? mark(line) : line);
    for (const [text] of arrows(node)) lines.push(`    ${indent}${text}`);
    for (const child of node.states) visit(child, `${path}.${child.key}`, depth + 1);
  };
  for (const [text] of arrows(root)) lines.push(`  ${text}`);
  for (const child of root.states) visit(child, child.key, 0);
  return lines.join("\n");
}

/** For people, and for a label in Mermaid: `load [here] -> loading`. */
function arrows({ on }: StateNode): [text: string, label: string, targets: string[]][] {
  const seen = new Set<string>();
  return on.flatMap(({ event, targets, guard }) => {
    const label = `${eventName(event)}${guard === undefined ? "" : ` [${guard}]`}`;
    const text = `${label}${targets.length === 0 ? "" : ` -> ${targets.join(", ")}`}`;
    if (seen.has(text)) return [];
    seen.add(text);
    return [[text, label, targets] as [string, string, string[]]];
  });
}

/** `done`, `failed` and `after ...` for the names that XState gives. */
export function eventName(event: string): string {
  if (event.startsWith("xstate.done.")) return "done";
  if (event.startsWith("xstate.error.")) return "failed";
  const after = /^xstate\.after\.([^.]+)\./.exec(event)?.[1];
  if (after !== undefined) return `after ${after}${/^\d+$/.test(after) ? " ms" : ""}`;
  return event === "xstate.init" ? "start" : event;
}

/** A `stateDiagram-v2` with the current states in a class of their own. */
export function chartMermaid(root: StateNode, state: string): string {
  const lines = ["stateDiagram-v2"];
  const id = (path: string) => path.replaceAll(/[^A-Za-z0-9]/g, "_");
  const visit = (node: StateNode, path: string, depth: number) => {
    const indent = "  ".repeat(depth + 1);
    if (path !== "") lines.push(`${indent}state "${node.key}" as ${id(path)}`);
    if (node.states.length === 0) return;
    if (path !== "") lines.push(`${indent}state ${id(path)} {`);
    const inner = path === "" ? indent : `${indent}  `;
    const below = (key: string) => (path === "" ? key : `${path}.${key}`);
    if (node.initial !== undefined) lines.push(`${inner}[*] --> ${id(below(node.initial))}`);
    for (const child of node.states) visit(child, below(child.key), path === "" ? depth : depth + 1);
    if (path !== "") lines.push(`${indent}}`);
  };
  visit(root, "", 0);
  const edges = (node: StateNode, path: string) => {
    for (const [, label, targets] of path === "" ? [] : arrows(node))
      for (const target of targets) lines.push(`  ${id(path)} --> ${id(target)}: ${label.replaceAll(/[:;]/g, " ")}`);
    for (const child of node.states) edges(child, path === "" ? child.key : `${path}.${child.key}`);
  };
  edges(root, "");
  lines.push("  classDef current fill:#2a7,color:#fff");
  for (const path of activePaths(state)) lines.push(`  class ${id(path)} current`);
  return lines.join("\n");
}
