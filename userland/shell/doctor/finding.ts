// Owns what the doctor says of one thing that it looked at.

export interface Finding {
  /** What was looked at: `disk`, `clock`. */
  check: string;
  /** `fail`: Soma does not work, or is not safe, until it is mended. `warn`: it works, less well than it could. */
  state: "ok" | "warn" | "fail";
  what: string;
  /** What to do; with `warn` and `fail` always. */
  todo?: string;
}

export const ok = (check: string, what: string): Finding => ({ check, state: "ok", what });
export const warn = (check: string, what: string, todo: string): Finding => ({ check, state: "warn", what, todo });
export const fail = (check: string, what: string, todo: string): Finding => ({ check, state: "fail", what, todo });
