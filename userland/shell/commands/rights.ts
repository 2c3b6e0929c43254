// Owns the commands that show rights: what apps ask for, what holders may do, and how much of their budgets is left.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Command } from "../command.ts";
import { table } from "../render/table.ts";
import { duration } from "../render/units.ts";
import { appPath, installApp } from "./app.ts";
import { asks, plain } from "./grant.ts";

type Known = Output<"auth.apps">;
type Grant = Known["grants"][number];
type Budget = Known["budgets"][number];

export const rightsCommands: Command[] = [
  {
    name: "app install",
    args: "<folder>",
    what: "record what an app asks for, and show it",
    example: "soma app install ./hello",
    async run(env, [app = ""]) {
      const { name, needs, models, approved } = await installApp(await env.soma(), appPath(app));
      const next = approved ? `It is approved: soma run ${app}` : `Allow it with "soma app approve ${name}"`;
      return {
        json: { app: name, needs, models: models ?? null, approved },
        text: `${asks(name, needs, models)}\n${next}`,
      };
    },
  },
  {
    name: "app ls",
    what: "list apps with the rights that they ask for and hold, and what is left of budgets",
    example: "soma app ls",
    async run(env) {
      const known = await (await env.soma()).auth.apps({});
      return { json: known, text: sections(known).join("\n\n") };
    },
  },
  {
    name: "app show",
    args: "<name>",
    what: "show what an app or holder asks for, may do, and has left",
    example: "soma app show bob",
    async run(env, [name = ""]) {
      const known = await (await env.soma()).auth.apps({});
      const apps = known.apps.filter(({ app }) => app === name);
      const grants = known.grants.filter(({ holder, app }) => holder === name || app === name);
      if (apps.length + grants.length === 0)
        throw new SomaError("ENOENT", `no app or holder "${name}": see "soma app ls"`);
      const budgets = known.budgets.filter(({ holder }) => grants.some((grant) => grant.holder === holder));
      const parts = [
        ...apps.map(({ needs, approved }) => `${asks(name, needs)}\nIt is ${approved ? "" : "not "}approved.`),
        ...grants.map((grant) => `${grant.holder} may, ${until(grant)}:\n${plain(grant.calls)}\n${limits(grant)}`),
        ...(budgets.length > 0 ? [budgetTable(budgets)] : []),
      ];
      return { json: { apps, grants, budgets }, text: parts.join("\n\n") };
    },
  },
];

function sections({ apps, grants, budgets }: Known): string[] {
  const rows = apps.map(({ app, approved, needs }) => [app, approved ? "approved" : "asks", needs.join(" ")]);
  const held = grants.map((grant) => [grant.holder, grant.id, grant.calls.join(" "), until(grant)]);
  return [
    table(["APP", "", "NEEDS"], rows),
    table(["HOLDER", "GRANT", "CALLS", "ENDS"], held),
    ...(budgets.length > 0 ? [budgetTable(budgets)] : []),
  ];
}

function budgetTable(budgets: readonly Budget[]): string {
  const rows = budgets.map(({ holder, budget, amount, windowMs, spent, leased, left, resetsAt }) => {
    // Device time in seconds, as it is given.
    const of = (n: number) => (budget === "tokens" ? n : (n / 1_000).toFixed(1));
    const what = `${budget === "tokens" ? "tokens" : "device-seconds"} in ${duration(windowMs)}`;
    return [holder, what, of(amount), of(spent), of(leased), of(left), duration(resetsAt - Date.now())];
  });
  return table(["HOLDER", "BUDGET", ">OF", ">SPENT", ">IN USE", ">LEFT", ">NEW IN"], rows);
}

function until({ expiresAt }: Grant): string {
  return expiresAt === null ? "for good" : `until ${new Date(expiresAt).toISOString()}`;
}

/** What of a grant is limited besides budgets; nothing is said of what is not. */
function limits({ caveats: { models, maxTokens, concurrency, weight } }: Grant): string {
  return [
    `  with ${models === undefined ? "any model" : `the models ${models.join(", ")}`}`,
    ...(maxTokens === undefined ? [] : [`at most ${maxTokens} new tokens a call`]),
    ...(concurrency === undefined ? [] : [`${concurrency} requests at a time`]),
    ...(weight === undefined ? [] : [`weight ${weight}`]),
  ].join(", ");
}
