// Owns a small disk for a test, which it may fill: a tmpfs of its own. Only root may mount one, and not in every container.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PIECE = Buffer.alloc(64 * 1024);

export class SmallDisk {
  private gone = false;
  private readonly unmount = () => {
    if (this.gone) return;
    this.gone = true;
    // Lazily: what a process that is about to die has open is no reason to keep it.
    execFileSync("umount", ["-l", this.path]);
    rmSync(this.path, { recursive: true });
  };

  private constructor(readonly path: string) {
    process.once("exit", this.unmount);
  }

  /** One of so many MB; or why there is none to be had. */
  static make(mb: number): SmallDisk | { lacking: string } {
    const path = mkdtempSync(join(tmpdir(), "soma-disk-"));
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mb}m`, "tmpfs", path], { stdio: "pipe" });
      return new SmallDisk(path);
    } catch (error) {
      rmSync(path, { recursive: true });
      const { message, stderr } = error as Error & { stderr?: Buffer };
      return { lacking: (stderr?.toString() || message).trim().split("\n")[0]! };
    }
  }

  /** Takes all the room there is. */
  fill(): void {
    const file = openSync(join(this.path, "fill"), "a");
    try {
      for (;;) writeSync(file, PIECE);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(file);
    }
  }

  /** Gives it back. */
  clear(): void {
    rmSync(join(this.path, "fill"));
  }

  remove(): void {
    process.removeListener("exit", this.unmount);
    this.unmount();
  }
}
