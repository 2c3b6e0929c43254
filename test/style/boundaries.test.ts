// Who may import whom (design, section 2), checked by dependency-cruiser over the whole tree.
import { cruise, type IReporterOutput } from "dependency-cruiser";
import extractTSConfig from "dependency-cruiser/config-utl/extract-ts-config";
import { test } from "uvu";
import * as assert from "uvu/assert";

interface Rule {
  name: string;
  severity: "error";
  from: object;
  to: object;
}
const rule = (name: string, from: object, to: object): Rule => ({ name, severity: "error", from, to });
const OURS = "^(kernel|services|userland|apps|bench|docs|test)/";

const forbidden: Rule[] = [
  rule("abi imports nothing of ours", { path: "^kernel/abi/" }, { path: OURS, pathNot: "^kernel/abi/" }),
  rule("ipc imports abi only", { path: "^kernel/ipc/" }, { path: OURS, pathNot: "^kernel/(abi|ipc)/" }),
  rule(
    "the kernel imports no service and no userland",
    { path: "^kernel/" },
    { path: "^(services|userland|apps|test|bench)/" },
  ),
  rule(
    "a service imports abi, ipc and itself",
    { path: "^services/([^/]+)/" },
    { path: OURS, pathNot: ["^kernel/(abi|ipc)/", "^services/$1/"] },
  ),
  rule(
    "userland imports no kernel but abi and ipc, and no service",
    { path: "^userland/" },
    { path: OURS, pathNot: ["^kernel/(abi|ipc)/", "^userland/", "^services/.*\\.json$"] },
  ),
  rule(
    "only the sdk of userland imports ipc",
    { path: "^userland/", pathNot: "^userland/sdk/" },
    { path: "^kernel/ipc/" },
  ),
  rule("apps import the sdk only", { path: "^apps/" }, { path: OURS, pathNot: ["^userland/sdk/", "^apps/"] }),
  rule(
    "only ipc imports nats",
    { path: "^(kernel|services|userland|apps)/", pathNot: "^kernel/ipc/" },
    { path: "node_modules/(nats|@nats-io)/" },
  ),
  rule(
    "only the device imports piscina",
    { path: "^(kernel|services|userland|apps)/", pathNot: "^services/device/" },
    { path: "node_modules/piscina/" },
  ),
  rule("no circles", { path: "^(kernel|services|userland|apps)/" }, { circular: true }),
];

const FOLDERS = ["kernel", "services", "userland", "apps"];

async function check(rules: Rule[]): Promise<{ modules: number; violations: string[] }> {
  const result = await cruise(
    FOLDERS,
    {
      ruleSet: { forbidden: rules },
      validate: true,
      doNotFollow: { path: "node_modules" },
      exclude: { path: "/drivers/[^/]+/node_modules/" },
      tsPreCompilationDeps: false,
    },
    undefined,
    { tsConfig: extractTSConfig("tsconfig.json") },
  );
  const { summary, modules } = result.output as Exclude<IReporterOutput["output"], string>;
  return {
    modules: modules.filter(({ source }) => /^(kernel|services|userland|apps)\//.test(source)).length,
    violations: summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`),
  };
}

test("nobody imports what it must not", async () => {
  const { modules, violations } = await check(forbidden);
  // With a TypeScript that it cannot read, the tool looks at nothing and is content.
  assert.ok(modules > 100, `only ${modules} modules were looked at`);
  assert.equal(violations, []);
});

test("a forbidden import would be found", async () => {
  const planted = rule("nobody imports abi/errors.ts", { path: "^kernel/ipc/" }, { path: "^kernel/abi/errors" });
  assert.ok((await check([planted])).violations.length > 3);
});

test.run();
