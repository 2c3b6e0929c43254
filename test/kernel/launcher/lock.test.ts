import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { holderOf, isAlive, LockHeld, startOf, takeLock } from "../../../kernel/launcher/lock.ts";
import { withDirectory } from "../broker/harness.ts";

/** A process that tries once when told, says "held" or "refused", and then waits to be killed. */
async function rival(directory: string): Promise<{ child: ChildProcess; attempt: () => Promise<string> }> {
  const program = fileURLToPath(new URL("./rival.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program, directory], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return {
    child,
    attempt: async () => {
      const answer = once(child.stdout!, "data");
      child.stdin!.write("go\n");
      return String((await answer)[0]).trim();
    },
  };
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

test("a lock is held until it is released, also against its own process", () =>
  withDirectory((directory) => {
    const lock = takeLock(directory);
    assert.throws(
      () => takeLock(directory),
      (error: unknown) => error instanceof LockHeld && error.holder.pid === process.pid,
    );
    lock.release();
    takeLock(directory).release();
    assert.is(readdirSync(directory).length, 1, "used numbers are cleared away");
  }));

test("of many rivals after a holder's kill -9 exactly one gets the lock", () =>
  withDirectory(async (directory) => {
    const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => rival(directory)));
    assert.is(await first!.attempt(), "held");
    assert.equal(await Promise.all(others.map(({ attempt }) => attempt())), Array(4).fill("refused"));
    await kill(first!.child);
    for (let left = others; left.length > 1; ) {
      const answers = await Promise.all(left.map(({ attempt }) => attempt()));
      assert.is(answers.filter((answer) => answer === "held").length, 1, answers.join());
      const winner = left[answers.indexOf("held")]!;
      await kill(winner.child);
      left = left.filter((one) => one !== winner);
      if (left.length === 1) await kill(left[0]!.child);
    }
    takeLock(directory).release();
  }));

test("a holder whose pid belongs to a later process is dead", () =>
  withDirectory((directory) => {
    writeFileSync(join(directory, "7"), JSON.stringify([{ pid: process.pid, started: "of another life" }]));
    takeLock(directory);
    assert.equal(readdirSync(directory), ["8"]);
  }));

test("a lock that is shared with a child lives as long as that child does", () =>
  withDirectory(async (directory) => {
    const other = await rival(join(directory, "unused"));
    const lock = takeLock(directory);
    lock.share(other.child.pid!);
    // As if this process had been killed: only the child's entry is left alive.
    writeFileSync(
      join(directory, "1"),
      JSON.stringify([{ pid: process.pid, started: "killed" }, holderOf(other.child.pid!)]),
    );
    assert.throws(
      () => takeLock(directory),
      (error: unknown) => error instanceof LockHeld && error.holder.pid === other.child.pid,
    );
    await kill(other.child);
    takeLock(directory);
  }));

test("a process that has ended is gone even while nobody has taken its exit code", async () => {
  // The shell's child is a zombie: `exec` replaces the parent by one that never waits.
  const shell = spawn("sh", ["-c", "true & echo $!; exec sleep 5"], { stdio: ["ignore", "pipe", "ignore"] });
  const pid = Number((await once(shell.stdout!, "data"))[0]);
  while (startOf(pid) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(isAlive(holderOf(shell.pid!)));
  await kill(shell);
});

test.run();
