// Owns the commands about the system itself: processes, logs, stores, devices, the queue.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { SERVICES } from "../../../kernel/abi/names.ts";
import type { CallName, Input, Output } from "../../../kernel/abi/syscalls.ts";
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";
import { bytes, clock, duration } from "../render/units.ts";

const queue: Omit<Command, "name"> = {
  what: "show what runs and what waits, and why",
  example: "soma sched ls",
  async run(env) {
    const queue = await (await env.soma()).scheduler.queue({});
    const rows = queue.sequences.map((s) => [
      s.id,
      s.principal,
      s.model,
      s.state,
      s.newTokens,
      s.maxNew,
      duration(s.waitedMs),
      s.why,
    ]);
    return {
      json: queue,
      text: `policy: ${queue.policy}\n${table(["ID", "FOR", "MODEL", "STATE", ">NEW", ">MAX", ">WAITED", "WHY"], rows)}`,
    };
  },
};

/** Parts of devices with what each is due and got. */
function shares(parts: Output<"scheduler.parts">["parts"]): string {
  const rows = parts
    .filter(({ part }) => part !== "")
    .map((p) => {
      const all = parts.filter(({ device }) => device === p.device).reduce((sum, { usedMs }) => sum + usedMs, 0);
      const got = p.usedMs === 0 ? "-" : `${Math.round((100 * p.usedMs) / all)}%`;
      const name = `${p.device}/${p.part}`;
      return [name, `${Math.round(100 * p.share)}%`, got, duration(p.usedMs), p.blocks, p.leased, p.sequences];
    });
  return table(["PART", ">SHARE", ">GOT", ">TIME", ">BLOCKS", ">LEASED", ">SEQUENCES"], rows);
}

/** a=70% or a=70%/50%: a name, its share, and its memory if that is another. */
function cut(text: string): { name: string; share: number; memory?: number } {
  const [, name = "", share, memory] = /^([^=]+)=(\d+(?:\.\d+)?)%(?:\/(\d+(?:\.\d+)?)%)?$/.exec(text) ?? [];
  if (share === undefined)
    throw new SomaError("EINVAL", `"${text}" is no part: use a=70%, or a=70%/50% for less memory`);
  return { name, share: Number(share) / 100, ...(memory === undefined ? {} : { memory: Number(memory) / 100 }) };
}

export const systemCommands: Command[] = [
  {
    name: "ps",
    what: "list processes",
    example: "soma ps",
    async run(env) {
      const { processes } = await (await env.soma()).kernel.ps({});
      const rows = processes.map((p) => [
        p.id,
        p.kind,
        p.pid,
        p.state,
        p.epoch || undefined,
        p.restarts,
        duration(p.uptimeMs),
        p.rssBytes === undefined ? undefined : bytes(p.rssBytes),
        p.note,
      ]);
      return {
        json: processes,
        text: table(["ID", "KIND", ">PID", "STATE", ">EPOCH", ">RESTARTS", ">UP", ">MEMORY", "NOTE"], rows),
      };
    },
  },
  {
    name: "stat",
    args: "<service>",
    what: "show a service's own figures",
    example: "soma stat scheduler",
    async run(env, [service = ""]) {
      const [owner, instance] = ownerOf(service);
      const stat = (await (
        await env.soma()
      ).client.call(`${owner}.stat` as CallName, {} as Input<"kernel.stat">, instance ? { instance } : {})) as {
        instance: string;
        epoch: number;
        state: unknown;
        uptimeMs: number;
        inflight: number;
        figures: Record<string, unknown>;
      };
      const rows = [
        ["instance", stat.instance],
        ["epoch", stat.epoch],
        ["state", show(stat.state)],
        ["up", duration(stat.uptimeMs)],
        ["in flight", stat.inflight],
        ...Object.entries(stat.figures).map(([key, value]): [string, string] => [
          key,
          /bytes$/i.test(key) ? bytes(Number(value)) : show(value),
        ]),
      ];
      return { json: stat, text: table(["FIGURE", "VALUE"], rows) };
    },
  },
  {
    name: "kill",
    args: "<id>",
    what: "end a process, or send it a signal",
    example: "soma kill model-1 --signal SIGKILL",
    options: [["--signal <name>", "SIGTERM, SIGKILL, SIGSTOP, SIGCONT or SIGINT", "SIGTERM"]],
    async run(env, [id = ""], { signal }) {
      const done = await (await env.soma()).kernel.kill({ id, signal: signal as "SIGTERM" });
      return { json: done, text: `${signal} sent to ${done.id}` };
    },
  },
  {
    name: "restart",
    args: "<service>",
    what: "stop a service in order and start it anew",
    example: "soma restart scheduler",
    async run(env, [service = ""]) {
      const done = await (await env.soma()).kernel.restart({ service });
      return { json: done, text: `${done.instance} is back, epoch ${done.epoch}` };
    },
  },
  {
    name: "log",
    args: "[actor]",
    what: "read log lines",
    example: "soma log -f model-1",
    options: [
      ["-f, --follow", "go on with new lines"],
      ["-n, --tail <count>", "old lines", "50"],
      ["--level <level>", "this level and above"],
    ],
    async run(env, [actor], { follow, tail, level }) {
      const soma = await env.soma();
      const stream = soma.kernel.log(
        {
          follow: follow === true,
          tail: Number(tail),
          ...(actor ? { actor } : {}),
          ...(level ? { level: String(level) } : {}),
        },
        { signal: env.signal },
      );
      for await (const { lines } of stream) {
        for (const line of lines) {
          env.out(
            env.json
              ? `${JSON.stringify(line)}\n`
              : `${clock(line.at)} ${line.level.padEnd(5)} ${line.actor.padEnd(12)} ${line.message}${fieldsText(line.fields)}\n`,
          );
        }
      }
      return undefined;
    },
  },
  {
    name: "df",
    what: "show how full each stream and bucket is",
    example: "soma df",
    async run(env) {
      const { stores } = await (await env.soma()).kernel.df({});
      const rows = stores.map((s) => [
        s.name,
        s.kind,
        s.owner,
        s.messages,
        bytes(s.bytes),
        bytes(s.maxBytes),
        s.maxAgeMs === 0 ? "ever" : duration(s.maxAgeMs),
        s.what,
      ]);
      return {
        json: stores,
        text: table(["STORE", "KIND", "OWNER", ">ENTRIES", ">USED", ">LIMIT", ">KEPT", "WHAT"], rows),
      };
    },
  },
  {
    name: "free",
    what: "show each device's memory by holder",
    example: "soma free",
    async run(env) {
      const { devices } = await (await env.soma()).memory.free({});
      const rows = devices.flatMap((d) => [
        [d.device, "", bytes(d.totalBytes), bytes(d.weightBytes), bytes(d.kvBytes), bytes(d.freeBytes)],
        ...d.holders.map((h) => [
          `  ${h.holder}`,
          h.principal ?? h.kind,
          "",
          h.kind === "weights" ? bytes(h.bytes) : "",
          h.kind === "kv" ? bytes(h.bytes) : "",
          "",
        ]),
      ]);
      return { json: devices, text: table(["DEVICE", "FOR", ">TOTAL", ">WEIGHTS", ">KV", ">FREE"], rows) };
    },
  },
  {
    name: "device ls",
    what: "list devices and which driver runs, or why not",
    example: "soma device ls",
    async run(env) {
      const soma = await env.soma();
      const [device, { parts }] = await Promise.all([soma.device.list({}), soma.scheduler.parts({})]);
      const drivers = table(
        ["DRIVER", "", "WHY"],
        device.drivers.map((d) => [d.driver, d.chosen ? "chosen" : d.ok ? "ready" : "no", d.why]),
      );
      const models = table(
        ["MODEL", "DRIVER", ">WEIGHTS", ">KV", ">BLOCKS", ">FREE", ">SEQUENCES"],
        device.models.map((m) => [
          m.model,
          m.driver,
          bytes(m.weightBytes),
          bytes(m.kvBytes),
          m.blocks,
          m.freeBlocks,
          m.sequences,
        ]),
      );
      const text = `${device.device}: ${device.cores} cores, ${bytes(device.memoryBytes)} memory, ${bytes(device.budgetBytes)} for models, ${device.gpus.length} GPUs\n\n${drivers}${device.models.length ? `\n\n${models}` : ""}${parts.some(({ part }) => part !== "") ? `\n\n${shares(parts)}` : ""}`;
      return { json: { ...device, parts }, text };
    },
  },
  {
    name: "device split",
    args: "<device> <part...>",
    what: "cut a device into parts, each NAME=SHARE of its time and memory or NAME=SHARE/MEMORY; again to resize them",
    example: "soma device split cpu0 a=70% b=30%",
    async run(env, [device = "", ...parts]) {
      const done = await (await env.soma()).scheduler.split({ device, parts: parts.map(cut) });
      return { json: done, text: `${done.device} is cut: "soma device ls" shows its parts` };
    },
  },
  {
    name: "device merge",
    args: "<device>",
    what: "make a device that was cut one again",
    example: "soma device merge cpu0",
    async run(env, [device = ""]) {
      const done = await (await env.soma()).scheduler.merge({ device });
      return { json: done, text: `${done.device} is one device again` };
    },
  },
  { name: "sched", ...queue, example: "soma sched" },
  { name: "sched ls", ...queue },
  {
    name: "sched drain",
    args: "<device>",
    what: "hand a device's sequences over to others",
    example: "soma sched drain device-2",
    async run(env, [device = ""]) {
      await (await env.soma()).scheduler.drain({ device });
      return { json: { device }, text: `${device} gets no more work until it starts anew` };
    },
  },
  {
    name: "sched set",
    args: "<policy>",
    what: "choose the policy: fifo, rr, priority, edf or fair",
    example: "soma sched set fair",
    async run(env, [policy = ""]) {
      const done = await (await env.soma()).scheduler.set({ policy: policy as "fifo" });
      return { json: done, text: `policy: ${done.policy}` };
    },
  },
  {
    name: "info",
    what: "say what system this is",
    example: "soma info",
    async run(env) {
      const info = await (await env.soma()).kernel.info({});
      return {
        json: info,
        text: table(
          ["", ""],
          Object.entries(info).map(([key, value]) => [
            key,
            key === "uptimeMs" ? duration(Number(value)) : String(value),
          ]),
        ).trimStart(),
      };
    },
  },
  {
    name: "stop",
    what: "stop the system in order",
    example: "soma stop",
    async run(env) {
      await (await env.soma()).kernel.shutdown({});
      return { json: {}, text: "stopping" };
    },
  },
];

/** `model` or `model-1` -> owner and, if named, the instance. */
export function ownerOf(word: string): [string, string | undefined] {
  const owner = word.replace(/-\d+$/, "");
  if (owner !== "kernel" && !(SERVICES as readonly string[]).includes(owner)) {
    throw new SomaError("ENOENT", `no service "${word}": kernel, ${SERVICES.join(", ")}`);
  }
  return [owner, word === owner ? undefined : word];
}

export function show(value: unknown): string {
  return typeof value === "string"
    ? value
    : typeof value === "number" && !Number.isInteger(value)
      ? value.toFixed(2)
      : JSON.stringify(value);
}

function fieldsText(fields: Record<string, unknown> | undefined): string {
  const { pid: _pid, hostname: _host, epoch: _epoch, ...rest } = fields ?? {};
  return Object.keys(rest).length === 0 ? "" : ` ${JSON.stringify(rest)}`;
}
