// Owns the table from the scheduler's calls to its queue.
import { SomaError } from "../../kernel/abi/errors.ts";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import type { Board } from "./board.ts";
import type { Effects } from "./effects.ts";
import { partName } from "./parts.ts";

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
        state: sequence.charged.length > 0 ? "running" : "waiting",
        ...(sequence.device === undefined ? {} : { device: partName(sequence.device, { name: sequence.part }) }),
        ids: sequence.input.ids.length,
        newTokens: sequence.newIds.length,
        maxNew: sequence.input.maxNew,
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
    why: ({ id }) => {
      const sequence =
        queue.sequences.get(id) ?? [...queue.sequences.values()].find((other) => other.id.endsWith(`/${id}`));
      if (sequence === undefined)
        throw new SomaError("ENOENT", `nothing waits or runs under "${id}": see "soma sched"`);
      return { why: queue.why(sequence) };
    },
    policy: () => ({
      policy: queue.policy,
      shares: [...queue.accounts.values()].map(({ principal, weight, tokens, virtual }) => ({
        principal,
        weight,
        tokens,
        virtualTime: virtual,
      })),
    }),
  };
}
