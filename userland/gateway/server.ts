// Owns the HTTP side: routes, who asks, limits, and that a client which leaves ends its work.
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Soma } from "../sdk/soma.ts";
import { CHAT, readChat } from "./chat.ts";
import { COMPLETION, readCompletion } from "./completions.ts";
import { embeddings } from "./embeddings.ts";
import { answer, badKey, HttpError } from "./errors.ts";
import { model, models } from "./models.ts";
import type { Lent, Pool } from "./pool.ts";
import { body, events, type Shape, whole } from "./text.ts";

export interface GatewayOptions {
  pool: Pool;
  /** ms that a request may take. */
  timeout: number;
  /** Whose pages may call; nobody's by default. */
  cors?: string;
  /** One line for each request, without anything that was asked or answered. */
  log: (line: string) => void;
}

/** Larger bodies get 413. Escapes make JSON longer than what goes over the bus, which has a limit of its own. */
const BODY = 1024 * 1024;

export function gateway({ pool, timeout, cors: origin, log }: GatewayOptions): Hono {
  const app = new Hono();
  if (origin !== undefined) app.use("/v1/*", cors({ origin }));

  app.use("/v1/*", async (c, next) => {
    const began = performance.now();
    await next();
    log(`${c.req.method} ${c.req.path} ${c.res.status} ${Math.round(performance.now() - began)} ms`);
  });
  const tooLarge = () => {
    throw new HttpError(413, "invalid_request_error", "request_too_large", `the body is over ${BODY} bytes: send less`);
  };
  app.use("/v1/*", bodyLimit({ maxSize: BODY, onError: tooLarge }));

  /** Lends the connection of the key that asks; gives it back when `work` is done, unless it says that it goes on. */
  async function serve(c: Context, work: (soma: Soma, turn: Turn) => Promise<Response>): Promise<Response> {
    const key = /^Bearer\s+(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    if (key === undefined) throw badKey('send an API key as "Authorization: Bearer sk-soma-...": soma key create NAME');
    const abort = new AbortController();
    const left = () => abort.abort();
    const client = c.req.raw.signal;
    client.addEventListener("abort", left, { once: true });
    if (client.aborted) left();
    let lent: Lent | undefined;
    let goesOn = false;
    const over = () => {
      client.removeEventListener("abort", left);
      lent?.done();
    };
    const judge = (error: unknown) => pool.judge(key, error);
    try {
      lent = await pool.lend(key, abort);
      const goOn = () => {
        goesOn = true;
        return over;
      };
      return await work(lent.soma, { signal: abort.signal, left, judge, goOn });
    } catch (error) {
      goesOn = false;
      throw await judge(error);
    } finally {
      if (!goesOn) over();
    }
  }

  const text = (shape: Shape, read: typeof readChat) => (c: Context) =>
    serve(c, async (soma, { signal, left, judge, goOn }) => {
      const { input, stream, includeUsage, mostCalls } = read(await json(c));
      const ask = { soma, input, shape, mostCalls, signal, ttl: timeout };
      if (!stream) return c.json(await whole(ask));
      const pieces = await events(ask, { includeUsage, judge, over: goOn() });
      return c.body(body(pieces, left), 200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    });

  app.post("/v1/chat/completions", text(CHAT, readChat));
  app.post("/v1/completions", text(COMPLETION, readCompletion));
  app.post("/v1/embeddings", (c) =>
    serve(c, async (soma, { signal }) => c.json(await embeddings(soma, await json(c), { signal, ttl: timeout }))),
  );
  app.get("/v1/models", (c) =>
    serve(c, async (soma, { signal }) => c.json({ object: "list", data: await models(soma, { signal }) })),
  );
  app.get("/v1/models/:id", (c) =>
    serve(c, async (soma, { signal }) => c.json(await model(soma, c.req.param("id") ?? "", { signal }))),
  );

  app.notFound((c) => {
    const message = `there is no ${c.req.method} ${c.req.path} here: see docs/gateway.md`;
    return c.json({ error: { message, type: "invalid_request_error", param: null, code: "unknown_url" } }, 404);
  });
  app.onError((error, c) => {
    const told = answer(error);
    if (told) return c.json(told.body, told.status as 400, told.headers);
    // Our own bug: the trace is for who runs this, not for who asked.
    process.stderr.write(`${error.stack}\n`);
    return c.json({ error: { message: "a bug of the gateway", type: "api_error", param: null, code: "bug" } }, 500);
  });
  return app;
}

interface Turn {
  /** Aborts when the client leaves or the key is revoked. */
  signal: AbortSignal;
  left: () => void;
  judge: (error: unknown) => Promise<unknown>;
  /** The connection stays lent until what it returns is called. */
  goOn: () => () => void;
}

async function json(c: Context): Promise<unknown> {
  const text = await c.req.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SomaError("EINVAL", "the body is no JSON", { cause });
  }
}
