// Owns who gets in: the login token, sessions, and which requests come from our own pages. Every answer carries the policy below.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { getCookie, setCookie } from "hono/cookie";

/** Scripts, styles and data from here alone; nothing inline, nothing evaluated, no frame around us. */
const POLICY = [
  "default-src 'none'",
  ...["script-src", "style-src", "connect-src", "img-src"].map((kind) => `${kind} 'self'`),
  ...["base-uri", "form-action", "frame-ancestors"].map((kind) => `${kind} 'none'`),
].join("; ");

const HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};

/** A session ends so long after its login, in ms. */
const SESSION = 12 * 3600_000;
const MOST_SESSIONS = 64;
/** Names that a browser on this machine may know us by. Any other is a foreign name that points here: DNS rebinding. */
const HOSTS = ["127.0.0.1", "localhost"];

export class Door {
  readonly token = randomBytes(32).toString("base64url");
  /** Session -> when it ends, oldest first. */
  private readonly sessions = new Map<string, number>();

  constructor(
    /** Known once we listen. */
    private readonly port: () => number,
    private readonly now: () => number = Date.now,
  ) {}

  /** Refuses foreign hosts and origins; to be passed by every request. */
  readonly guard: MiddlewareHandler = async (c, next) => {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    const hosts = HOSTS.map((host) => `${host}:${this.port()}`);
    if (!hosts.includes(c.req.header("host") ?? "")) return c.text("use the address that soma console printed\n", 421);
    // Pages on other ports of this machine count as the same site, so that their requests carry our cookie.
    const origin = c.req.header("origin");
    const ours = origin === undefined ? c.req.method === "GET" : origin === `http://${c.req.header("host")}`;
    if (!ours || !["same-origin", "none", undefined].includes(c.req.header("sec-fetch-site")))
      return c.text("that request is from another page\n", 403);
    await next();
  };

  /** Refuses whoever has not logged in. */
  readonly members: MiddlewareHandler = async (c, next) => {
    if (!this.knows(c)) return c.json({ code: "EPERM", message: "log in first" }, 401);
    await next();
  };

  /** Opens a session if the token is right. Both are hashed first, so that the time says nothing, not even the length. */
  enter(c: Context, token: string): boolean {
    if (!timingSafeEqual(sha256(token), sha256(this.token))) return false;
    const id = randomBytes(32).toString("base64url");
    this.sessions.set(id, this.now() + SESSION);
    if (this.sessions.size > MOST_SESSIONS) this.sessions.delete(this.sessions.keys().next().value!);
    setCookie(c, this.cookie, id, { httpOnly: true, sameSite: "Strict", path: "/", maxAge: SESSION / 1_000 });
    return true;
  }

  /** Ends the session of who asks. */
  leave(c: Context): void {
    this.sessions.delete(getCookie(c, this.cookie) ?? "");
    setCookie(c, this.cookie, "", { httpOnly: true, sameSite: "Strict", path: "/", maxAge: 0 });
  }

  /** Whether a request belongs to a session that has not ended. */
  knows(c: Context): boolean {
    const ends = this.sessions.get(getCookie(c, this.cookie) ?? "");
    return ends !== undefined && ends > this.now();
  }

  /** Cookies do not know ports: two consoles on one machine must not overwrite each other's. */
  private get cookie(): string {
    return `soma-console-${this.port()}`;
  }
}

const sha256 = (text: string) => createHash("sha256").update(text).digest();
