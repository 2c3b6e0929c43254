// Owns the typed client: `soma.<owner>.<call>(input)`, derived from the syscall table and nothing else.
import type { Owner } from "../../kernel/abi/names.ts";
import type { Syscall } from "../../kernel/abi/syscall.ts";
import {
  type CallName,
  type Chunk,
  type Input,
  type Output,
  SYSCALLS,
  type Syscalls,
  syscall,
} from "../../kernel/abi/syscalls.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { type CallOptions, Client } from "../../kernel/ipc/client.ts";
import type { Stream } from "../../kernel/ipc/stream.ts";
import type { Credentials } from "./context.ts";
import { type ResumableName, ResumableStream } from "./resume.ts";

export type { CallOptions };

type Answer<N extends CallName, S extends Syscall> = S["kind"] extends "stream"
  ? N extends ResumableName
    ? ResumableStream<N>
    : Stream<Chunk<N>, Output<N>>
  : Promise<Output<N>>;

type Calls<O extends Owner> = {
  [C in Extract<keyof Syscalls[O], string>]: `${O}.${C}` extends infer N extends CallName
    ? Syscalls[O][C] extends Syscall
      ? (input: Input<N>, options?: CallOptions) => Answer<N, Syscalls[O][C]>
      : never
    : never;
};

export type Soma = { [O in Owner]: Calls<O> } & {
  /** The authenticated name. */
  readonly name: string;
  /** Of the broker. */
  readonly url: string;
  readonly client: Client;
  readonly bus: NatsBus;
  close(): Promise<void>;
};

/** Connects; EIO or EPERM with what to do. */
export async function connectSoma(credentials: Credentials): Promise<Soma> {
  const { url, name, jwt, seed } = credentials;
  const bus = await NatsBus.connect({ url, name, jwt: () => jwt, seed });
  const client = new Client(bus);
  const owners = Object.keys(SYSCALLS).map((owner) => [owner, callsOf(owner as Owner, client)]);
  return { ...Object.fromEntries(owners), name, url, client, bus, close: () => bus.close() } as Soma;
}

function callsOf(owner: Owner, client: Client): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(SYSCALLS[owner]).map((call) => [
      call,
      (input: never, options?: CallOptions) => {
        const name = `${owner}.${call}` as CallName;
        const entry = syscall(owner, call)!;
        if (entry.kind !== "stream") return client.call(name, input, options);
        const resumable = "resume" in ((entry.input as { shape?: object }).shape ?? {});
        return resumable
          ? new ResumableStream(client, name as ResumableName, input, options)
          : client.stream(name, input, options);
      },
    ]),
  );
}
