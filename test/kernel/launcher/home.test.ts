import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { homeAt, openHome } from "../../../kernel/launcher/home.ts";
import { withDirectory } from "../broker/harness.ts";

test("all parts exist and are for this user only, also where the root was open to others", () =>
  withDirectory((directory) => {
    chmodSync(directory, 0o755);
    const home = openHome(directory);
    assert.equal(Object.keys(home).sort(), ["cache", "js", "keys", "log", "root", "run"]);
    for (const part of Object.values(home)) assert.is(statSync(part).mode & 0o777, 0o700, part);
    assert.equal(openHome(directory), home);
    assert.is(readFileSync(join(directory, "format"), "utf8"), "1\n");
  }));

test("a newer layout is refused with what to do", () =>
  withDirectory((directory) => {
    writeFileSync(join(directory, "format"), "2\n");
    assert.throws(() => openHome(directory), /has format 2, this Soma reads 1: update Soma/);
  }));

test("SOMA_HOME says where it is", () => {
  const before = process.env.SOMA_HOME;
  process.env.SOMA_HOME = "/somewhere";
  assert.is(homeAt().keys, "/somewhere/keys");
  process.env.SOMA_HOME = before;
  if (before === undefined) delete process.env.SOMA_HOME;
});

test.run();
