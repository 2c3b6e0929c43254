// Owns a Docker to test with: the one at hand, or a daemon of our own in a scratch directory, and the base images in it.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { provision } from "../../kernel/broker/provision.ts";
import { until } from "../helpers/system.ts";

const STANDINS = fileURLToPath(new URL("standins.sh", import.meta.url));
const BASES = ["node:22-bookworm-slim", "nats:2.11-alpine"];
const works = (program: string, ...args: string[]) => spawnSync(program, args, { stdio: "ignore" }).status === 0;

export interface Docker {
  /** For docker and docker-compose. */
  env: NodeJS.ProcessEnv;
  compose: readonly string[];
  /** Which base images are not the official ones. */
  standins: string[];
  end(): Promise<void>;
}

/** A text says why there is none. */
export async function openDocker(): Promise<Docker | string> {
  const compose = [["docker", "compose"], ["docker-compose"]].find(([program, ...args]) =>
    works(program!, ...args, "version"),
  );
  if (!compose) return "neither docker compose nor docker-compose is there";
  if (works("docker", "info")) return prepared({ env: process.env, compose, end: async () => {} });
  if (process.getuid?.() !== 0 || !works("dockerd", "--version"))
    return "no Docker daemon answers, and starting one takes root and dockerd";
  const scratch = mkdtempSync(join(tmpdir(), "soma-docker-"));
  const env = { ...process.env, DOCKER_HOST: `unix://${join(scratch, "docker.sock")}` };
  const daemon = spawn(
    "dockerd",
    [
      ...["--data-root", join(scratch, "data"), "--exec-root", join(scratch, "exec"), "-H", env.DOCKER_HOST],
      ...["--pidfile", join(scratch, "pid"), "--log-level", "error"],
    ],
    { stdio: "ignore" },
  );
  process.once("exit", () => daemon.kill("SIGKILL"));
  const end = () => ended(daemon, scratch);
  try {
    await until("our dockerd answers", () => {
      if (daemon.exitCode !== null) throw new Error("dockerd ended");
      return spawnSync("docker", ["info"], { env, stdio: "ignore" }).status === 0;
    });
  } catch {
    await end();
    return "dockerd does not start here";
  }
  return prepared({ env, compose, end });
}

/** With the base images; where no registry is in reach, stand-ins of our own under their names. */
async function prepared(docker: Omit<Docker, "standins">): Promise<Docker | string> {
  const options = { env: docker.env, stdio: "ignore" } as const;
  const missing = BASES.filter((image) => spawnSync("docker", ["image", "inspect", image], options).status !== 0);
  const standins = missing.filter(
    (image) => spawnSync("docker", ["pull", image], { ...options, timeout: 60_000 }).status !== 0,
  );
  if (standins.length === 0) return { ...docker, standins };
  const scratch = mkdtempSync(join(tmpdir(), "soma-images-"));
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const { path } = await provision({ caches: [join(cache, "soma")] });
  const { status, stderr } = spawnSync("bash", [STANDINS, scratch, path], { env: docker.env, encoding: "utf8" });
  rmSync(scratch, { recursive: true, force: true });
  if (status === 0) return { ...docker, standins };
  await docker.end();
  return `no registry of images is in reach, and stand-ins were not built: ${stderr.trim().split("\n").at(-1)}`;
}

async function ended(daemon: ChildProcess, scratch: string): Promise<void> {
  if (daemon.exitCode === null) {
    daemon.kill("SIGTERM");
    await new Promise((resolve) => daemon.once("exit", resolve));
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
