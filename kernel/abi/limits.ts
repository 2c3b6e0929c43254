// Owns every number that more than one actor must agree on. Times in ms, sizes in bytes.

/** Version of this contract; a peer with another one is refused with one line. */
export const ABI = 1;

export const LIMITS = {
  /** Default time to live of a call that names none. */
  callTtl: 5_000,
  /** A reply made by the caller's own side comes this long after the deadline at most. */
  deadlineGrace: 100,
  /** Largest message body; anything above goes by reference as a blob. */
  body: 512 * 1024,
  /** Largest chunk of an upload or download. */
  chunk: 64 * 1024,
  /** Unread chunks that a stream may have in flight. */
  window: 64,
  /** Requests that one service holds at a time, and the share that one caller may take of them. */
  mailbox: 256,
  mailboxPerCaller: 64,
  /** The same where requests are long streams that wait for their turn: model and scheduler. */
  streamMailbox: 2048,
  streamMailboxPerCaller: 1024,
  /** Each instance beats this often; two missed beats: suspect; three: killed. */
  heartbeat: 1_000,
  suspectAfter: 2_000,
  deadAfter: 3_000,
  /** A child must be ready this long after its start. */
  startTimeout: 20_000,
  /** Ordered stop: ask, wait this long, then kill. */
  shutdown: 4_000,
  /** Restarts: more than `intensity` within `period` leads to quarantine, probed every `probe`. */
  intensity: 5,
  period: 30_000,
  backoffFirst: 250,
  backoffMax: 30_000,
  probe: 30_000,
  /** Transitions that each actor remembers. */
  transitions: 64,
  /** A watch lease lasts this long unless renewed. */
  watchLease: 10_000,
} as const;

/** Names of callers, services, instances and apps. */
export const NAME = /^[a-z0-9-]{1,32}$/;

/** Tokens of one KV block. */
export const BLOCK_TOKENS = 16;
