// The console's door and feeds: who gets in, what every answer says, and pages that read slowly or not at all.
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { Door } from "../../../userland/console/door.ts";
import { Feed, Feeds, type Topic } from "../../../userland/console/feed.ts";
import { addressed, files } from "../../../userland/console/modules.ts";
import { readPlay } from "../../../userland/console/play.ts";
import { consoleServer } from "../../../userland/console/server.ts";
import { topicOf } from "../../../userland/console/topics.ts";
import { until } from "../../helpers/system.ts";

const HOST = "127.0.0.1:4711";
const ORIGIN = `http://${HOST}`;
const never = new AbortController().signal;
/** Ends what is still watched when all tests are over: a page that stays has the process stay. */
const over = new AbortController();
test.after(() => over.abort());

/** A console over topics of the test's own; `clock` can be moved. */
function setup(topic: Topic = { every: 5, read: async () => 1 }) {
  const clock = { now: 1_000 };
  const door = new Door(
    () => 4711,
    () => clock.now,
  );
  const feeds = new Feeds((name) => {
    if (name !== "test") throw new SomaError("ENOENT", `there is no topic "${name}"`);
    return topic;
  });
  const app = consoleServer({ soma: {} as never, door, files: files(), feeds });
  const ask = (path: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
    app.request(`${ORIGIN}${path}`, { signal: over.signal, ...init, headers: { host: HOST, ...headers } });
  const post = (path: string, body: unknown, headers: Record<string, string> = { origin: ORIGIN }) =>
    ask(path, headers, { method: "POST", body: JSON.stringify(body) });
  const login = async () => (await post("/login", { token: door.token })).headers.get("set-cookie")!;
  return { clock, door, feeds, app, ask, post, login };
}
const cookieOf = (header: string) => header.split(";")[0]!;

test("the token opens a session, whose cookie no script and no other site gets", async () => {
  const { login, ask, post } = setup();
  const header = await login();
  for (const word of ["HttpOnly", "SameSite=Strict", "Path=/"]) assert.match(header, word);
  assert.match(header, /^soma-console-4711=/, "two consoles overwrite each other's cookie");
  assert.is((await ask("/feed/test")).status, 401);
  assert.is((await ask("/feed/test", { cookie: cookieOf(header) })).status, 200);
  for (const token of ["", "x", 1, undefined]) assert.is((await post("/login", { token })).status, 401);
});

test("a session ends at logout and after half a day", async () => {
  const { login, ask, post, clock } = setup();
  const cookie = cookieOf(await login());
  const other = cookieOf(await login());
  await post("/logout", {}, { origin: ORIGIN, cookie });
  assert.is((await ask("/feed/test", { cookie })).status, 401);
  assert.is((await ask("/feed/test", { cookie: other })).status, 200);
  clock.now += 12 * 3600_000;
  assert.is((await ask("/feed/test", { cookie: other })).status, 401);
});

test("a foreign name that points here is refused, whatever it asks for", async () => {
  const { app, login } = setup();
  const cookie = cookieOf(await login());
  for (const host of ["evil.example:4711", "127.0.0.1:80", "127.0.0.1", "127.0.0.1:4711.evil.example", ""])
    for (const path of ["/", "/session", "/feed/test"])
      assert.is((await app.request(`${ORIGIN}${path}`, { headers: { host, cookie } })).status, 421, `${host} ${path}`);
});

test("a request that another page makes is refused, also of another port on this machine", async () => {
  const { post, ask, login, door } = setup();
  const cookie = cookieOf(await login());
  for (const origin of ["http://127.0.0.1:9", "http://localhost:4711", "https://127.0.0.1:4711", "null"])
    assert.is((await post("/login", { token: door.token }, { origin, cookie })).status, 403, origin);
  assert.is((await post("/login", { token: door.token }, { cookie })).status, 403, "no origin");
  for (const site of ["cross-site", "same-site"])
    assert.is((await ask("/feed/test", { cookie, "sec-fetch-site": site })).status, 403, site);
  assert.is((await ask("/feed/test", { cookie, "sec-fetch-site": "same-origin" })).status, 200);
});

test("every answer forbids all that is not ours, refusals as well", async () => {
  const { ask } = setup();
  for (const path of ["/", "/page/main.js", "/feed/test", "/nothing"]) {
    const { headers } = await ask(path);
    const policy = headers.get("content-security-policy")!;
    for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"])
      assert.match(policy, part);
    assert.not.match(policy, /unsafe|https?:|\*/);
    assert.is(headers.get("x-content-type-options"), "nosniff");
    assert.is(headers.get("cache-control"), "no-store");
    assert.is(headers.get("access-control-allow-origin"), null);
  }
});

test("the page has no inline script or style, and all that it imports is served", async () => {
  const served = files();
  assert.not.match(served.get("/")!.text, /<script(?![^>]*src)|<style|style=|\son\w+=/);
  for (const [path, { text, type }] of served) {
    if (!type.startsWith("text/javascript")) continue;
    for (const [, , name] of text.matchAll(/(?:\bfrom\s*|\bimport\s*)(["'])([@\w./-]+)\1/g)) {
      const target = name!.startsWith(".") ? new URL(name!, `${ORIGIN}${path}`).pathname : name!;
      assert.ok(served.has(target), `${path} imports ${name}`);
    }
  }
  assert.is(addressed('import{h}from"preact";'), 'import{h}from"/module/preact";');
  assert.is(addressed('import x from "./x.js";'), 'import x from "./x.js";');
});

test("a topic that is none, and a body that is none, are refused with what is wrong", async () => {
  const { ask, post, login } = setup();
  const cookie = cookieOf(await login());
  assert.is((await ask("/feed/nothing", { cookie })).status, 404);
  assert.throws(() => topicOf({} as never, "toString", {}), /no topic/);
  const headers = { origin: ORIGIN, cookie };
  const play = await post("/play", { kind: "complete", text: "x", seed: -1 }, headers);
  assert.is(play.status, 400);
  assert.match(((await play.json()) as { message: string }).message, /^seed: /);
  assert.is((await post("/play", "a".repeat(300_000), headers)).status, 413);
  assert.throws(() => readPlay({ kind: "shell", text: "ls" }), /kind/);
});

/** Frames of a stream as a page reads them. */
function reader(stream: ReadableStream<Uint8Array>) {
  const from = stream.getReader();
  return {
    next: async () =>
      JSON.parse(
        Buffer.from((await from.read()).value!)
          .toString()
          .slice("data: ".length),
      ),
    cancel: () => from.cancel(),
  };
}

test("pages on the same thing share one reader, which stops when the last one leaves", async () => {
  let reads = 0;
  const feed = new Feed({ every: 1, read: async () => ++reads });
  const [one, two] = [reader(feed.watch(never)), reader(feed.watch(never))];
  assert.is((await one.next()).value, (await two.next()).value);
  await one.cancel();
  assert.is(feed.watched, 1);
  await two.next();
  await two.cancel();
  assert.is(feed.watched, 0);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const then = reads;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.is(reads, then, "it reads though nobody watches");
});

test("a page that does not read gets the newest when it does, and holds up nobody", async () => {
  let reads = 0;
  const feed = new Feed({ every: 1, read: async () => ++reads });
  const slow = reader(feed.watch(never));
  const quick = reader(feed.watch(never));
  const first = (await slow.next()).value;
  let last = 0;
  for (let i = 0; i < 50; i++) last = (await quick.next()).value;
  // At most what was put aside when it last read comes before the newest.
  await slow.next();
  assert.ok((await slow.next()).value >= last, "old frames were queued");
  assert.ok(first < last);
  await slow.cancel();
  await quick.cancel();
});

test("what cannot be read is told, and read again", async () => {
  let reads = 0;
  const feed = new Feed({
    every: 1,
    read: async () => {
      if (++reads === 1) throw new SomaError("ESERVICEDOWN", "it died");
      return "back";
    },
  });
  const page = reader(feed.watch(never));
  assert.equal(await page.next(), { problem: { code: "ESERVICEDOWN", message: "it died" } });
  assert.equal(await page.next(), { value: "back" });
  await page.cancel();
});

test("a connection that takes nothing makes nothing pile up, and its end ends the reading", async () => {
  let reads = 0;
  const value = "x".repeat(64 * 1024);
  const { app, login, feeds } = setup({ every: 1, read: async () => `${++reads}${value}` });
  const cookie = cookieOf(await login());
  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  let served = 0;
  server.on("connection", (peer) => {
    served = 0;
    setInterval(() => (served = Math.max(served, peer.writableLength)), 1).unref();
  });
  socket.pause();
  socket.write(`GET /feed/test HTTP/1.1\r\nhost: ${HOST}\r\ncookie: ${cookie}\r\n\r\n`);
  await until("it was read often", () => reads > 300);
  assert.ok(served < 8 * value.length, `${served} bytes wait in the server`);
  assert.is(feeds.watched, 1);
  socket.destroy();
  await until("nobody watches", () => feeds.watched === 0);
  server.close();
});

test.run();
