// Owns the broker's configuration file: operator mode, the account resolver, JetStream and the limits that keep one client from hurting others.

const KB = 1024;
const MB = 1024 * KB;
const GB = 1024 * MB;

/** Bytes that JetStream may use; every stream's maximum is reserved from it, so it exceeds the sum of abi/storage.ts. */
export const STORAGE = { disk: 32 * GB, memory: 256 * MB } as const;

/** What the account may use: each replica of a stream counts. */
export const storageOf = (replicas: number) => ({ ...STORAGE, disk: replicas * STORAGE.disk });

/** Size of one log file, and how many are kept with the current one. Every refused publish is a line. */
export const LOG = { bytes: 4 * MB, files: 4 } as const;

/** What the configuration takes from the root of trust (keys/authority.ts). */
export interface Trust {
  operatorJwt: string;
  systemAccount: string;
  systemAccountJwt: string;
  account: string;
  accountJwt(): string;
}

/** One of several servers that keep the streams together. */
export interface ClusterNode {
  /** Unique among them. */
  name: string;
  /** Where it listens for the others. */
  port: number;
  /** host:port of all of them; itself among them does no harm. */
  peers: readonly string[];
  /** Who knows it is one of them, with all rights: it travels between them alone. */
  secret: string;
}

export interface ConfigOptions {
  /** Interface to listen on: loopback, or 0.0.0.0 in a container. */
  host: string;
  /** -1: any free one. */
  port: number;
  /** Directory of JetStream and of the account JWTs. */
  store: string;
  /** Absent: it prints its log. */
  logFile?: string;
  /** Bytes of one log file, and how many there are at most. */
  log?: { bytes: number; files: number };
  /** host:port of its monitoring, for a container's health check. */
  monitor?: string;
  /** Absent: it is the only one. */
  cluster?: ClusterNode;
}

/** A string of the configuration language; its escapes are JSON's as far as paths need them. */
const quoted = (text: string) => JSON.stringify(text);

/** The text of the configuration. Holds no secret but that of a cluster: JWTs are public. */
export function brokerConfig(trust: Trust, options: ConfigOptions): string {
  const { host, port, store, logFile, log = LOG, monitor, cluster } = options;
  const logging =
    logFile === undefined
      ? ""
      : `log_file: ${quoted(logFile)}\nlog_size_limit: ${log.bytes}\nlog_max_num: ${log.files}\n`;
  return `listen: ${quoted(`${host}:${port}`)}
server_name: ${cluster?.name ?? "soma"}
${cluster === undefined ? "" : clusterPart(host, cluster)}${monitor === undefined ? "" : `http: ${quoted(monitor)}\n`}${logging}

# A reader that stops reading stalls its publisher for as long as write_deadline.
write_deadline: "200ms"
max_pending: ${8 * MB}
max_payload: ${MB}
# A client's JWT comes in one line: a user with a hundred permissions needs more than the default of 4 KB.
max_control_line: ${64 * KB}
# A hung client is cut off after 3 s.
ping_interval: "1s"
ping_max: 2

# Power loss costs what was written within sync_interval; killing the broker costs nothing.
jetstream { store_dir: ${quoted(store)}, max_file: ${STORAGE.disk}, max_mem: ${STORAGE.memory}, sync_interval: "10s" }

operator: ${trust.operatorJwt}
system_account: ${trust.systemAccount}
# The full resolver takes new account JWTs while it runs: revocations need no reload. One that was away asks the others.
resolver: { type: full, dir: ${quoted(`${store}/jwt`)}, allow_delete: false, interval: "${cluster === undefined ? "2m" : "10s"}" }
resolver_preload: {
  ${trust.systemAccount}: ${trust.systemAccountJwt}
  ${trust.account}: ${trust.accountJwt()}
}
`;
}

function clusterPart(host: string, { port, peers, secret }: ClusterNode): string {
  const user = `user: soma, password: ${quoted(secret)}`;
  const routes = peers.map((peer) => quoted(`nats://soma:${secret}@${peer}`)).join(", ");
  return `cluster { name: soma, listen: ${quoted(`${host}:${port}`)}, authorization { ${user} }, routes: [${routes}] }\n`;
}
