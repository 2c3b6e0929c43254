// Owns the page of apps: who may do what, under which limits, and what is left of each budget.
import { html } from "htm/preact";
import { useFeed } from "./live.js";
import { Page, Table } from "./parts.js";
import { count, date } from "./units.js";

const caveat = (value) =>
  typeof value === "object" && !Array.isArray(value) ? `${value.amount} in ${value.windowMs} ms` : String(value);

export function Apps() {
  const frame = useFeed("apps");
  const { apps = [], grants = [], budgets = [] } = frame.value ?? {};
  return html`<${Page} title="Apps" frame=${frame}>
    <h2>Grants</h2>
    <${Table} label="Grants" heads=${["Holder", "App", "~Calls", "~Limits", "Ends"]}
      rows=${grants.map((g) => ({
        key: g.id,
        cells: [
          g.holder,
          g.app,
          g.calls.join(", "),
          Object.entries(g.caveats)
            .map(([name, value]) => `${name}: ${caveat(value)}`)
            .join(", ") || "none",
          g.expiresAt === null ? (g.ephemeral ? "with its process" : "never") : date(g.expiresAt),
        ],
      }))} />
    <h2>Budgets</h2>
    <${Table} label="Budgets" empty="nobody has a budget" heads=${["Holder", "Budget", "Used", ">Spent", ">In use", ">Left", ">Of", "Starts anew"]}
      rows=${budgets.map((b) => [
        b.holder,
        b.budget,
        html`<meter min="0" max=${b.amount} value=${b.spent + b.leased} aria-label="used by ${b.holder}"></meter>`,
        count(b.spent),
        count(b.leased),
        count(b.left),
        count(b.amount),
        date(b.resetsAt),
      ])} />
    <h2>Installed</h2>
    <${Table} label="Installed apps" heads=${["App", "Approved", "~Asks for"]} rows=${apps.map((a) => [a.app, a.approved ? "yes" : "no", a.needs.join(", ")])} />
  <//>`;
}
