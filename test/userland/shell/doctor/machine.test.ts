import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  brokerProgram,
  disk,
  gpu,
  memory,
  nodeVersion,
  port,
  room,
  secrets,
} from "../../../../userland/shell/doctor/machine.ts";

const root = mkdtempSync(join(tmpdir(), "soma-doctor-"));
test.after(() => rmSync(root, { recursive: true, force: true }));

/** A program that says so and ends with this code. */
function program(name: string, says: string, code = 0): string {
  const path = join(root, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho '${says}'\nexit ${code}\n`, { mode: 0o755 });
  return path;
}

test("a Node that is too old fails, one too new for tfjs is warned of", () => {
  const states = ["18.20.1", "20.0.0", "22.11.0", "23.1.0"].map((version) => nodeVersion(version).state);
  assert.equal(states, ["fail", "ok", "ok", "warn"]);
});

test("room is judged by both bounds, and says what to do where it lacks", () => {
  const found = [99, 100, 199, 200].map((free) => room("disk", free, [100, 200], "make room"));
  assert.equal(
    found.map(({ state, todo }) => [state, todo]),
    [
      ["fail", "make room"],
      ["warn", "make room"],
      ["warn", "make room"],
      ["ok", undefined],
    ],
  );
});

test("memory and disk are read, also for a home that is not there yet", () => {
  for (const finding of [memory(), disk(join(root, "not", "yet"))]) assert.match(finding.what, /^[\d.]+ [KMGT]?B free/);
});

test("a key that others may read fails, and the finding names it", () => {
  const home = join(root, "home");
  mkdirSync(join(home, "keys"), { recursive: true, mode: 0o700 });
  chmodSync(home, 0o700);
  writeFileSync(join(home, "keys", "operator.seed"), "SO", { mode: 0o600 });
  assert.is(secrets(home).state, "ok");
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(join(home, "keys", "operator.seed"), mode);
    const { state, what, todo } = secrets(home);
    assert.is(state, "fail", mode.toString(8));
    assert.match(what, join(home, "keys", "operator.seed"));
    assert.match(todo!, `chmod -R go-rwx ${home}`);
  }
  chmodSync(join(home, "keys", "operator.seed"), 0o600);
  assert.is(secrets(home).state, "ok");
});

test("a taken port is told from a free one", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: number } = server.address() as { port: number };
  assert.is((await port(number)).state, "warn");
  await new Promise((resolve) => server.close(resolve));
  assert.is((await port(number)).state, "ok");
});

test("the broker's program is looked for on PATH and in the caches, and its version judged", () => {
  process.env.XDG_CACHE_HOME = join(root, "cache");
  const home = join(root, "elsewhere");
  assert.match(brokerProgram(home, join(root, "nothing")).what, "no nats-server here yet");
  program("old/nats-server", "nats-server: v2.9.1");
  const old = brokerProgram(home, join(root, "old"));
  assert.is(old.state, "warn");
  assert.match(old.what, "2.9.1");
  const good = program("cache/soma/nats-server/2.11.4/nats-server", "nats-server: v2.11.4");
  assert.equal(brokerProgram(home, join(root, "old")), {
    check: "broker",
    state: "ok",
    what: `nats-server 2.11.4 at ${good}`,
  });
});

test("a GPU without a driver that uses it is warned of, a broken NVIDIA driver too, none is fine", () => {
  assert.is(gpu(join(root, "no-such-program")).state, "ok");
  assert.match(gpu(program("smi", "NVIDIA H100, 550.54, 81559 MiB")).what, "H100");
  const broken = gpu(program("smi-broken", "NVIDIA-SMI has failed", 9));
  assert.is(broken.state, "warn");
  assert.match(broken.what, "NVIDIA-SMI has failed");
});

test.run();
