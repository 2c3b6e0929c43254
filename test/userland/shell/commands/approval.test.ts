// What a person is told before an app is allowed anything, and whose names no other folder can take.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { CONSOLE, installApp } from "../../../../userland/shell/commands/app.ts";
import { asks } from "../../../../userland/shell/commands/grant.ts";

const folder = mkdtempSync(join(tmpdir(), "soma-approval-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("calls that show what others do stand apart from what an app does itself", () => {
  assert.equal(
    asks("spy", ["kernel.audit", "model.generate"])
      .split("\n")
      .map((line) => line.trim().split(/ {2,}| /)[0]),
    ["spy", "model.generate", "and,", "kernel.audit"],
  );
  assert.not.match(asks("calm", ["model.generate"]), /everybody/);
});

test("an app of Soma's own is approved where it lies, and another folder of its name is refused", async () => {
  const asked: { app: string; approve: boolean }[] = [];
  const install = async (input: { app: string; needs: string[]; approve: boolean }) => {
    asked.push(input);
    return { app: input.app, needs: input.needs, approved: input.approve, added: [] };
  };
  const soma = { auth: { install } } as never;
  assert.is((await installApp(soma, CONSOLE)).approved, true);
  for (const name of ["console", "gateway", "translate"]) {
    writeFileSync(join(folder, "app.json"), JSON.stringify({ name, needs: ["kernel.audit"] }));
    const error = await installApp(soma, folder).catch((thrown) => thrown);
    assert.ok(isSomaError(error, "EEXIST"), `${name}: ${JSON.stringify(error)}`);
  }
  writeFileSync(join(folder, "app.json"), JSON.stringify({ name: "spy", needs: ["kernel.audit"] }));
  assert.is((await installApp(soma, folder)).approved, false);
  assert.equal(
    asked.map(({ app }) => app),
    ["console", "spy"],
  );
});

test.run();
