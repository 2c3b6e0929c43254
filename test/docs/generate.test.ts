import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { asyncapi, syscallsPage } from "../../docs/generate.ts";
import { allSyscalls } from "../../kernel/abi/syscalls.ts";

const file = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");

test("docs/syscalls.md is fresh: npm run docs", () => assert.is(file("syscalls.md") === syscallsPage(), true));
test("docs/asyncapi.json is fresh: npm run docs", () => assert.is(file("asyncapi.json") === asyncapi(), true));
test("every syscall has its channel and operation", () => {
  const { channels, operations } = JSON.parse(asyncapi());
  for (const [owner, call] of allSyscalls()) {
    assert.ok(channels[`${owner}.${call}`]);
    assert.ok(operations[`${owner}.${call}`]);
  }
});

test.run();
