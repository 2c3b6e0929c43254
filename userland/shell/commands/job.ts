// Owns the commands about jobs.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Command, Env, Shown } from "../command.ts";
import { lossChart } from "../render/curve.ts";
import { fields } from "../render/fields.ts";
import { trainingBar } from "../render/progress.ts";
import { table } from "../render/table.ts";
import { clock, duration } from "../render/units.ts";

type Job = Output<"model.follow">;

export const jobCommands: Command[] = [
  {
    name: "job ls",
    what: "list jobs",
    example: "soma job ls",
    async run(env) {
      const { jobs } = await (await env.soma()).model.jobs({});
      const rows = jobs.map((j) => [
        j.id,
        j.kind,
        j.model,
        j.owner,
        j.state,
        j.progress ? `${j.progress.step}/${j.progress.steps}` : "",
        j.progress?.loss.toFixed(4),
        clock(j.submittedAt),
        j.error,
      ]);
      return {
        json: jobs,
        text: table(["JOB", "KIND", "MODEL", "FOR", "STATE", ">STEP", ">LOSS", "SINCE", "ERROR"], rows),
      };
    },
  },
  {
    name: "job show",
    args: "<job>",
    what: "show a job: its loss curve as a chart, and where it stands",
    example: "soma job show j1",
    async run(env, [job = ""]) {
      const { curve, ...row } = await (await env.soma()).model.job({ job });
      const chart = lossChart(curve);
      return { json: { ...row, curve }, text: `${chart && `${chart}\n\n`}${fields(row)}` };
    },
  },
  {
    name: "job watch",
    args: "<job>",
    what: "follow a job until it ends; then its loss curve",
    example: "soma job watch j1",
    async run(env, [job = ""]) {
      const shown = await followJob(env, job);
      const chart = lossChart((await (await env.soma()).model.job({ job })).curve);
      return { ...shown, text: `${chart && `${chart}\n\n`}${shown.text}` };
    },
  },
  {
    name: "job cancel",
    args: "<job>",
    what: "cancel a job; its last checkpoint stays",
    example: "soma job cancel j1",
    async run(env, [job = ""]) {
      const row = await (await env.soma()).model.stop({ job });
      return { json: row, text: `${row.id}: ${row.state}` };
    },
  },
];

/** Shows a bar until the job ends. Breaking off leaves the job running. */
export async function followJob(env: Pick<Env, "soma" | "signal" | "json">, job: string): Promise<Shown> {
  const stream = (await env.soma()).model.follow({ job }, { signal: env.signal });
  const bar = trainingBar();
  for await (const { progress } of stream) if (progress && !env.json) bar.update(progress);
  bar.stop();
  const end = await stream.result;
  if (end.state !== "done")
    throw new SomaError(
      end.state === "canceled" ? "ECANCELED" : "EINVAL",
      `${end.model}: ${end.state}${end.error ? `, ${end.error}` : ""}`,
    );
  return { json: end, text: `${end.model}: ${outcome(end)}` };
}

function outcome(job: Job): string {
  const loss = job.progress ? `, loss ${job.progress.loss.toFixed(4)}` : "";
  return `${job.state} after ${duration(job.updatedAt - job.submittedAt)}${loss}`;
}
