// Owns the table from the scheduler's calls to its queue.
import { SomaError } from "../../kernel/abi/errors.ts";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import type { Board } from "./board.ts";
import type { Effects } from "./effects.ts";
import { partName } from "./parts.ts";
import { blocksOf, type Sequence } from "./sequence.ts";

export function calls(queue: Board, effects: Effects): Handlers<"scheduler"> {
  return {
    run: (input, request) => {
      effects.admit(input, request);
      return DEFER;
    },
    place: (placement) => {
      effects.place(placement);
      return {};
    },
    queue: () => ({
      policy: queue.policy,
      sequences: [...queue.sequences.values()].map((sequence) => ({
        id: sequence.id,
        principal: sequence.principal,
        model: sequence.input.model,
        state: sequence.paused ? "paused" : sequence.charged.length > 0 ? "running" : "waiting",
        ...(sequence.device === undefined ? {} : { device: partName(sequence.device, { name: sequence.part }) }),
        ids: sequence.input.ids.length,
        newTokens: sequence.newIds.length,
        maxNew: sequence.input.maxNew,
        blocks: sequence.device === undefined ? 0 : blocksOf(sequence),
        waitedMs: (sequence.firstRunAt ?? performance.now()) - sequence.arrivedAt,
        why: queue.why(sequence),
      })),
    }),
    drain: ({ device }) => {
      if (!queue.drain(device)) throw new SomaError("ENOENT", `${device} has no model here: see "soma device ls"`);
      effects.pump();
      return {};
    },
    split: async ({ device, parts }) => ({ device: await effects.cut(device, parts) }),
    merge: async ({ device }) => ({ device: await effects.cut(device, []) }),
    parts: () => ({ parts: queue.slots.rows() }),
    set: ({ policy }) => {
      queue.policy = policy;
      return { policy };
    },
    why: ({ id }) => ({ why: queue.why(find(queue, id)) }),
    pause: ({ id }) => {
      const sequence = find(queue, id);
      effects.pause(sequence);
      return { id: sequence.id, newTokens: sequence.newIds.length };
    },
    resume: ({ id }) => {
      const sequence = find(queue, id);
      effects.resume(sequence);
      return { id: sequence.id, newTokens: sequence.newIds.length };
    },
    policy: () => ({
      policy: queue.policy,
      shares: [...queue.accounts.values()].map(({ principal, weight, tokens, virtual, preempted }) => ({
        principal,
        weight,
        tokens,
        virtualTime: virtual,
        preempted,
      })),
    }),
  };
}

/** By its whole id or the part after the caller. ENOENT. */
function find({ sequences }: Board, id: string): Sequence {
  const found = sequences.get(id) ?? [...sequences.values()].find((other) => other.id.endsWith(`/${id}`));
  if (found === undefined) throw new SomaError("ENOENT", `nothing waits or runs under "${id}": see "soma sched"`);
  return found;
}
