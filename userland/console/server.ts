// Owns the HTTP side: which address is answered by what, and for whom.
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import type { Soma } from "../sdk/soma.ts";
import type { Door } from "./door.ts";
import { Feeds } from "./feed.ts";
import type { File } from "./modules.ts";
import { answer, readPlay } from "./play.ts";
import { topicOf } from "./topics.ts";

export interface ConsoleOptions {
  soma: Soma;
  door: Door;
  files: ReadonlyMap<string, File>;
  feeds?: Feeds;
}

const BODY = 256 * 1024;
const EVENTS = { "content-type": "text/event-stream", "x-accel-buffering": "no" };

export function consoleServer({ soma, door, files, feeds }: ConsoleOptions): Hono {
  const watched = feeds ?? new Feeds((name, query) => topicOf(soma, name, query));
  const app = new Hono();
  app.use(door.guard);
  app.use(bodyLimit({ maxSize: BODY, onError: (c) => c.json({ code: "E2BIG", message: "send less" }, 413) }));

  // The page holds nothing secret: what it shows comes by feeds.
  for (const [path, { type, text }] of files) app.get(path, (c) => c.body(text, 200, { "content-type": type }));

  app.post("/login", async (c) => {
    const { token } = (await json(c)) as { token?: unknown };
    if (typeof token === "string" && door.enter(c, token)) return c.json({});
    return c.json({ code: "EPERM", message: "that is not the token which soma console printed" }, 401);
  });
  app.post("/logout", (c) => {
    door.leave(c);
    return c.json({});
  });
  app.get("/session", (c) => c.json({ open: door.knows(c) }));

  app.get("/feed/:topic", door.members, (c) =>
    c.body(watched.watch(c.req.param("topic"), c.req.query(), c.req.raw.signal), 200, EVENTS),
  );
  app.post("/play", door.members, async (c) =>
    c.body(answer(soma, readPlay(await json(c)), c.req.raw.signal), 200, EVENTS),
  );

  app.notFound((c) => c.json({ code: "ENOENT", message: `there is no ${c.req.method} ${c.req.path} here` }, 404));
  app.onError((error, c) => {
    if (isSomaError(error)) return c.json({ code: error.code, message: error.message }, status(error));
    // Our own bug: the trace is for who runs this.
    process.stderr.write(`${error.stack}\n`);
    return c.json({ code: "bug", message: "a bug of the console" }, 500);
  });
  return app;
}

const status = ({ code }: SomaError) =>
  code === "EINVAL" ? 400 : code === "ENOENT" ? 404 : code === "EPERM" ? 403 : 503;

async function json(c: Context): Promise<object> {
  const text = await c.req.text();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new SomaError("EINVAL", "the body is no JSON", { cause });
  }
  if (typeof value !== "object" || value === null) throw new SomaError("EINVAL", "the body is no object");
  return value;
}
