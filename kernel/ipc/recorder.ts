// Owns the flight recorder: the last transitions of each actor, and their publication while somebody watches.
import type { AnyActorRef, AnyStateMachine, InspectionEvent } from "xstate";
import { LIMITS } from "../abi/limits.ts";

export interface Transition {
  at: number;
  actor: string;
  event: string;
  from: string;
  to: string;
}

export interface Inspected {
  id: string;
  state: unknown;
  context: unknown;
  definition: unknown;
  transitions: Transition[];
}

/** Pass `recorder.inspect` to createActor of a root actor; its children are seen as well. */
export class Recorder {
  private readonly actors = new Map<string, { ref: AnyActorRef; state: string; last: Transition[] }>();
  private watchedUntil = 0;

  constructor(
    private readonly publish: (transition: Transition) => void,
    private readonly now: () => number = Date.now,
  ) {}

  readonly inspect = (event: InspectionEvent): void => {
    if (event.type !== "@xstate.snapshot") return;
    const snapshot = event.snapshot as { value?: unknown; status: string };
    if (snapshot.value === undefined) return;
    const id = (event.actorRef as AnyActorRef).id;
    const to = valueText(snapshot.value);
    const known = this.actors.get(id);
    const transition: Transition = { at: this.now(), actor: id, event: event.event.type, from: known?.state ?? "", to };
    const last = known?.last ?? [];
    // Names and ids only; an event that leaves the state as it was counts, too.
    last.push(transition);
    if (last.length > LIMITS.transitions) last.shift();
    this.actors.set(id, { ref: event.actorRef as AnyActorRef, state: to, last });
    if (snapshot.status !== "active") this.actors.delete(id);
    if (this.now() < this.watchedUntil) this.publish(transition);
  };

  /** Publishes transitions for the next `watchLease` ms. */
  watch(): number {
    this.watchedUntil = this.now() + LIMITS.watchLease;
    return this.watchedUntil;
  }

  show(actor?: string): Inspected[] {
    return [...this.actors]
      .filter(([id]) => actor === undefined || id === actor)
      .map(([id, { ref, state, last }]) => ({
        id,
        state,
        context: redact(ref.getSnapshot().context),
        definition: definitionOf(ref),
        transitions: [...last],
      }));
  }
}

/** `a.b` for nested states; parallel ones joined with "+". */
export function valueText(value: unknown): string {
  if (typeof value === "string") return value;
  return Object.entries(value as Record<string, unknown>)
    .map(([key, inner]) => {
      const text = valueText(inner);
      return text === "" ? key : `${key}.${text}`;
    })
    .join("+");
}

/** States and transitions of a machine as plain data, to draw a statechart of. */
function definitionOf(ref: AnyActorRef): unknown {
  const machine = (ref as unknown as { logic: AnyStateMachine }).logic;
  return machine.root === undefined ? undefined : stateNode(machine.root);
}

interface Node {
  key: string;
  type: string;
  initial?: { target?: { key: string }[] };
  states: Record<string, Node>;
  transitions: Map<string, { target?: { id: string }[]; guard?: unknown }[]>;
}

function stateNode(node: unknown): unknown {
  const { key, type, initial, states, transitions } = node as Node;
  return {
    key,
    type,
    initial: initial?.target?.[0]?.key,
    on: [...transitions].flatMap(([event, list]) =>
      list.map(({ target, guard }) => ({
        event,
        targets: (target ?? []).map(({ id }) => id.split(".").slice(1).join(".")),
        guard: guardName(guard),
      })),
    ),
    states: Object.values(states).map(stateNode),
  };
}

function guardName(guard: unknown): string | undefined {
  return typeof guard === "string"
    ? guard
    : typeof guard === "object" && guard !== null && "type" in guard
      ? String(guard.type)
      : undefined;
}

const SECRET = /seed|jwt|key$|token$|secret|password|prompt|text|messages|content/i;

/** A context without secrets, prompts and large values. */
export function redact(value: unknown, depth = 0): unknown {
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (value instanceof Map) return redact(Object.fromEntries(value), depth);
  if (value instanceof Set) return redact([...value], depth);
  if (Array.isArray(value))
    return value.length > 32 ? `<${value.length} items>` : value.map((item) => redact(item, depth + 1));
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (depth > 4) return "<deep>";
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, SECRET.test(key) ? "<hidden>" : redact(inner, depth + 1)]),
  );
}
