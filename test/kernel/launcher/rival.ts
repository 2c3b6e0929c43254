// Tries to take a lock at each line of stdin, says how it went, and keeps what it got.
import { createInterface } from "node:readline";
import { LockHeld, takeLock } from "../../../kernel/launcher/lock.ts";

console.log("ready");
for await (const _ of createInterface({ input: process.stdin })) {
  try {
    takeLock(process.argv[2]!);
    console.log("held");
  } catch (error) {
    if (!(error instanceof LockHeld)) throw error;
    console.log("refused");
  }
}
