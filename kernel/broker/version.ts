// Owns asking a nats-server which version it is.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** What `nats-server --version` says, such as "2.10.27". Throws when the program does not run or is something else. */
export async function versionOf(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(program, ["--version"], { timeout: 10_000 });
  const version = /^nats-server: v(\d+\.\d+\.\d+(?:-[\w.]+)?)/.exec(stdout)?.[1];
  if (!version) throw new Error(`${program} says "${stdout.trim()}", which is no version of nats-server`);
  return version;
}
