// Owns the connection: the only wrapper of a NATS connection. Everything above sees this interface, so that a simulated bus can stand in.
import {
  type ConnectionOptions,
  connect,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  headers as natsHeaders,
} from "nats";
import { SomaError } from "../abi/errors.ts";
import { subjects } from "../abi/subjects.ts";
import { authenticator } from "./jwt.ts";
import { keyFromSeed } from "./nkey.ts";

export type Headers = Record<string, string>;

export interface Message {
  subject: string;
  reply: string;
  data: Uint8Array;
  /** 503 when nobody listens to what was published with this reply. */
  status: number;
  header(name: string): string;
}

export interface Subscription {
  /** Takes what was delivered already, then ends. */
  drain(): Promise<void>;
  unsubscribe(): void;
}

export interface Bus {
  /** The authenticated caller. */
  readonly name: string;
  readonly connected: boolean;
  /** Fire and forget: what is published while the broker is away is lost, so callers look at `connected` first. */
  publish(subject: string, data: Uint8Array, headers?: Headers, reply?: string): void;
  subscribe(subject: string, callback: (message: Message) => void, queue?: string): Subscription;
  /** `lost`: connection gone, in-flight replies with it. `denied`: the broker refused to publish to or subscribe `subject`. */
  on(listener: (event: BusEvent) => void): () => void;
  flush(): Promise<void>;
  close(): Promise<void>;
}

export type BusEvent =
  | { type: "lost" }
  | { type: "back" }
  | { type: "denied"; operation: "publish" | "subscription"; subject: string }
  | { type: "closed"; error?: Error };

export interface BusOptions {
  /** One address, or several of one cluster with commas between. */
  url: string;
  name: string;
  /** User JWT, read anew at each reconnect so that it can be renewed. */
  jwt: () => string;
  /** Of the user's nkey, SU... */
  seed: string;
  /** Give up connecting at first after so many ms. */
  timeout?: number;
}

const EMPTY = new Uint8Array(0);

/** Subjects on which only actors speak; the second token is who, and the broker sees to that. */
const SPOKEN = /^(sys|evt|hb)\./;

/**
 * JetStream answers a request wherever its `reply` says, so whoever may ask it anything could have it speak as the kernel.
 * Its answers are told by its own headers (a stored message comes with all headers of its writer, so the first value proves
 * nothing), by a status, or by a body of JSON: MessagePack that begins with a brace is one byte long.
 */
function isOfBroker({ headers, data }: Msg): boolean {
  return (
    (headers !== undefined && (headers.has("Nats-Stream") || headers.code > 0)) || (data[0] === 0x7b && data.length > 1)
  );
}

function wrap(msg: Msg): Message {
  return {
    subject: msg.subject,
    reply: msg.reply ?? "",
    data: msg.data,
    status: msg.headers?.code ?? 0,
    header: (name) => msg.headers?.get(name) ?? "",
  };
}

/** The real bus. */
export class NatsBus implements Bus {
  private listeners = new Set<(event: BusEvent) => void>();
  private readonly frozen = new WeakMap<Headers, MsgHdrs>();
  connected = true;

  private constructor(
    readonly name: string,
    /** For store.ts only. */
    readonly nc: NatsConnection,
  ) {
    void this.follow();
    void nc.closed().then((error) => {
      this.connected = false;
      this.emit({ type: "closed", ...(error instanceof Error ? { error } : {}) });
    });
  }

  /** Connects; EIO when the broker is not there, EPERM when it refuses the credential. */
  static async connect(options: BusOptions): Promise<NatsBus> {
    const settings: ConnectionOptions = {
      servers: options.url.split(","),
      name: options.name,
      authenticator: authenticator(options.jwt, keyFromSeed(options.seed)),
      inboxPrefix: subjects.inbox(options.name),
      // Stack traces of each request cost x1.4 to x1.7 at depth.
      noAsyncTraces: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
      reconnectJitter: 50,
      // A key that is refused twice in a row was revoked: then the connection closes for good.
      ignoreAuthErrorAbort: false,
      pingInterval: 5_000,
      maxPingOut: 2,
      timeout: options.timeout ?? 5_000,
    };
    try {
      return new NatsBus(options.name, await connect(settings));
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      if (/authoriz|authentic|permission/i.test(text)) {
        throw new SomaError("EPERM", `the broker refused the credential of "${options.name}": ask for a new one`, {
          cause,
        });
      }
      throw new SomaError("EIO", `no broker at ${options.url}: start the system with "soma start"`, {
        cause,
        executed: "no",
      });
    }
  }

  private async follow(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === "disconnect") {
        this.connected = false;
        this.emit({ type: "lost" });
      } else if (status.type === "reconnect") {
        this.connected = true;
        this.emit({ type: "back" });
      } else if (status.type === "error" && status.permissionContext) {
        const { operation, subject } = status.permissionContext as {
          operation: "publish" | "subscription";
          subject: string;
        };
        this.emit({ type: "denied", operation, subject });
      }
    }
  }

  private emit(event: BusEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  on(listener: (event: BusEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  publish(subject: string, data: Uint8Array, headers?: Headers, reply?: string): void {
    if (headers === undefined && reply === undefined) return this.nc.publish(subject, data);
    const options: { headers?: MsgHdrs; reply?: string } = {};
    if (headers !== undefined) options.headers = this.built(headers);
    if (reply !== undefined) options.reply = reply;
    this.nc.publish(subject, data ?? EMPTY, options);
  }

  /** Headers that cannot change are built once: those of replies are a few, said thousands of times a second. */
  private built(headers: Headers): MsgHdrs {
    const known = this.frozen.get(headers);
    if (known !== undefined) return known;
    const built = natsHeaders();
    for (const [key, value] of Object.entries(headers)) built.set(key, value);
    if (Object.isFrozen(headers)) this.frozen.set(headers, built);
    return built;
  }

  subscribe(subject: string, callback: (message: Message) => void, queue?: string): Subscription {
    const sub = this.nc.subscribe(subject, {
      ...(queue === undefined ? {} : { queue }),
      callback: (error, msg) => {
        // A refused subscription arrives here and as a `denied` event; a throw here would end the read loop of the
        // whole connection, silently, so what a callback throws is rethrown outside of it and crashes the actor.
        if (error) return;
        if (SPOKEN.test(msg.subject) && isOfBroker(msg)) return;
        try {
          callback(wrap(msg));
        } catch (thrown) {
          setImmediate(() => {
            throw thrown;
          });
        }
      },
    });
    return { drain: () => sub.drain(), unsubscribe: () => sub.unsubscribe() };
  }

  flush(): Promise<void> {
    return this.nc.flush();
  }

  close(): Promise<void> {
    return this.nc.close();
  }
}
