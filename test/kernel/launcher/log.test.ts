import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LogFile } from "../../../kernel/launcher/log.ts";
import { withDirectory } from "../broker/harness.ts";

const complain = (line: string) => assert.unreachable(line);

test("what is written lands in the file, and the next start appends", () =>
  withDirectory((directory) => {
    for (const text of ["one\n", "two\n"]) {
      const log = new LogFile(directory, "a", complain);
      log.write(Buffer.from(text));
      log.close();
    }
    assert.is(readFileSync(join(directory, "a.log"), "utf8"), "one\ntwo\n");
  }));

test("a child that prints without end fills no more than two files", () =>
  withDirectory((directory) => {
    const log = new LogFile(directory, "a", complain, 1_000);
    for (let i = 0; i < 500; i++) log.write(Buffer.from(`line ${i}\n`));
    log.close();
    assert.equal(readdirSync(directory).sort(), ["a.log", "a.log.1"]);
    for (const file of readdirSync(directory)) assert.ok(statSync(join(directory, file)).size <= 1_000);
    assert.match(readFileSync(join(directory, "a.log"), "utf8"), "line 499\n");
  }));

test("the last lines are remembered, however they were cut into chunks", () =>
  withDirectory((directory) => {
    const log = new LogFile(directory, "a", complain);
    const text = `${Array.from({ length: 30 }, (_, i) => `line ${i}`).join("\n")}\nunfinished`;
    for (let at = 0; at < text.length; at += 7) log.write(Buffer.from(text.slice(at, at + 7)));
    log.write(Buffer.from("x".repeat(10_000)));
    const lines = log.lines();
    log.close();
    assert.is(lines.length, 20);
    assert.is(lines[18], "line 29");
    assert.is(lines[19]!.length, 500);
  }));

test.run();
