import { spawn } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { STORAGE } from "../../../kernel/broker/config.ts";
import { externalBroker, startBroker } from "../../../kernel/broker/server.ts";
import { authenticator } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { Authority } from "../../../kernel/keys/authority.ts";
import { openHome } from "../../../kernel/launcher/home.ts";
import { type Holder, holderOf, isAlive, LockHeld } from "../../../kernel/launcher/lock.ts";
import { TETHER_KINDS, tetherKind } from "../../../kernel/launcher/tether.ts";
import { natsServer, withDirectory } from "./harness.ts";

async function options(directory: string) {
  const home = openHome(directory);
  return { program: await natsServer(), home, trust: new Authority(home.keys, { storage: STORAGE }) };
}

/** Waits for the end of a process; fails after 15 s. */
async function gone(holder: Holder): Promise<void> {
  const end = performance.now() + 15_000;
  while (isAlive(holder)) {
    assert.ok(performance.now() < end, `process ${holder.pid} does not end`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("what one start wrote to JetStream is there after kill -9 and a restart on the same port", () =>
  withDirectory(async (directory) => {
    const { home, program, trust } = await options(directory);
    const first = await startBroker({ home, program, trust });
    const port = Number(new URL(first.url).port);
    const key = createKey("user");
    const permissions = { pub: { allow: ["$JS.API.>", "kept.>"] }, sub: { allow: ["_INBOX.>"] } };
    const jwt = trust.mintUser({ name: "ada", publicKey: key.publicKey, permissions });
    const login = { servers: first.url, authenticator: authenticator(jwt, key), reconnect: false };
    const before = await connect(login);
    const manager = await before.jetstreamManager();
    await manager.streams.add({ name: "KEPT", subjects: ["kept.>"], max_bytes: 1024 * 1024 });
    await before.jetstream().publish("kept.a", "one");
    process.kill(first.pid!, "SIGKILL");
    assert.equal(await first.exited, { code: null, signal: "SIGKILL" });
    await before.closed();
    const second = await startBroker({ home, program, trust, port });
    assert.is(second.url, first.url);
    const after = await connect(login);
    const message = await (await after.jetstreamManager()).streams.getMessage("KEPT", { last_by_subj: "kept.a" });
    assert.is(new TextDecoder().decode(message.data), "one");
    await after.close();
    await second.stop();
    assert.equal(readdirSync(home.run), ["broker.conf"], "no ports directory is left");
  }));

for (const tether of TETHER_KINDS.filter((kind) => kind === "pipe" || kind === tetherKind())) {
  test(`with a ${tether} tether it stops on demand, and a second on the same store is refused while it runs`, () =>
    withDirectory(async (directory) => {
      const settings = { ...(await options(directory)), tether };
      const broker = await startBroker(settings);
      const server = holderOf(broker.pid!);
      const second = await startBroker(settings).catch((error: unknown) => error);
      assert.instance(second, LockHeld);
      assert.is((second as LockHeld).holder.pid, process.pid);
      await broker.stop();
      assert.not(isAlive(server));
      const third = await startBroker(settings);
      await third.stop();
    }));

  test(`with a ${tether} tether it dies with a parent that is killed -9, and the store can be opened again`, () =>
    withDirectory(async (directory) => {
      const settings = { ...(await options(directory)), tether };
      const parent = fileURLToPath(new URL("./parent.ts", import.meta.url));
      const child = spawn(process.execPath, ["--import", "tsx", parent, settings.program, directory, tether], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const pid = Number(await new Promise((resolve) => child.stdout.once("data", resolve)));
      const server = holderOf(pid);
      child.kill("SIGKILL");
      await gone(server);
      const next = await startBroker(settings);
      await next.stop();
    }));
}

test("a port in use fails the start with the server's own words and frees the store", () =>
  withDirectory(async (directory) => {
    const settings = await options(directory);
    const blocker = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => blocker.once("listening", resolve));
    const { port } = blocker.address() as AddressInfo;
    const failed = await startBroker({ ...settings, port }).catch((error: Error) => error);
    assert.match((failed as Error).message, /nats-server ended with 1: [\s\S]*address already in use/);
    await new Promise((resolve) => blocker.close(resolve));
    const broker = await startBroker({ ...settings, port });
    assert.is(Number(new URL(broker.url).port), port);
    await broker.stop();
  }));

test("a program that is not there fails the start with its name", () =>
  withDirectory(async (directory) => {
    const settings = { ...(await options(directory)), program: join(directory, "missing") };
    const failed = await startBroker(settings).catch((error: Error) => error);
    assert.match((failed as Error).message, /nats-server ended with 127|ENOENT/);
  }));

test("a client that is refused without end cannot fill the disk with log lines", () =>
  withDirectory(async (directory) => {
    const log = { bytes: 16 * 1024, files: 3 };
    const settings = { ...(await options(directory)), log };
    const broker = await startBroker(settings);
    const key = createKey("user");
    const permissions = { pub: { allow: ["mine.>"] }, sub: {} };
    const jwt = settings.trust.mintUser({ name: "noisy", publicKey: key.publicKey, permissions });
    const connection = await connect({ servers: broker.url, authenticator: authenticator(jwt, key) });
    for (let i = 0; i < 2_000; i++) connection.publish(`theirs.${i}`);
    await connection.flush();
    await connection.close();
    await broker.stop();
    const files = readdirSync(settings.home.log);
    assert.ok(files.length > 1 && files.length <= log.files, `${files.length} files`);
    for (const file of files) assert.ok(statSync(join(settings.home.log, file)).size < 2 * log.bytes, file);
  }));

test("with NATS_URL nothing is started and stopping it leaves it alone", async () => {
  const broker = externalBroker("nats://10.0.0.1:4222");
  assert.is(broker.pid, undefined);
  await broker.stop();
  assert.is(broker.url, "nats://10.0.0.1:4222");
});

test.run();
