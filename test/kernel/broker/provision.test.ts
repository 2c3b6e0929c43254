import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ProvisionOptions, provision } from "../../../kernel/broker/provision.ts";
import { withDirectory } from "./harness.ts";

/** A program that answers --version, at `path`. */
function fakeServer(path: string, version: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho "nats-server: v${version}"\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Serves one release as the real host does; `sums` may spoil its SHA256SUMS. */
async function withRelease(
  directory: string,
  version: string,
  sums: (right: string, file: string) => string,
  work: (base: string) => Promise<void>,
): Promise<void> {
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as "x64" | "arm64"];
  const name = `nats-server-v${version}-${process.platform}-${architecture}`;
  fakeServer(join(directory, name, "nats-server"), version);
  spawnSync("tar", ["-czf", `${name}.tar.gz`, name], { cwd: directory });
  const archive = readFileSync(join(directory, `${name}.tar.gz`));
  const right = createHash("sha256").update(archive).digest("hex");
  const files: Record<string, Buffer | string> = {
    [`/v${version}/SHA256SUMS`]: sums(right, `${name}.tar.gz`),
    [`/v${version}/${name}.tar.gz`]: archive,
  };
  const server = createServer((request, response) => {
    const body = files[request.url ?? ""];
    response.writeHead(body === undefined ? 404 : 200).end(body);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const sumLine = (right: string, file: string) => `${"0".repeat(64)}  other.zip\n${right}  ${file}\n`;

/** Runs it and keeps what it said. */
async function listen(options: ProvisionOptions) {
  const lines: string[] = [];
  const result = await provision({ ...options, say: (line) => lines.push(line) }).catch((error: Error) => error);
  return { result, lines };
}

test("an older one on PATH is skipped with a line that says so, the next good one is taken", () =>
  withDirectory(async (directory) => {
    const old = fakeServer(join(directory, "a", "nats-server"), "2.9.10");
    const good = fakeServer(join(directory, "b", "nats-server"), "2.10.27");
    const path = [join(directory, "none"), dirname(old), dirname(good)].join(":");
    const { result, lines } = await listen({ caches: [join(directory, "cache")], path, ways: ["path"] });
    assert.equal(result, { path: good, version: "2.10.27", from: "path" });
    assert.equal(lines, [`${old} is 2.9.10: skipped, 2.10.27 or later is needed`]);
  }));

test("the newest good one of all caches is taken; one that is old, broken or mislabelled is not", () =>
  withDirectory(async (directory) => {
    const caches = [join(directory, "one"), join(directory, "two"), join(directory, "missing")];
    const at = (cache: number, version: string) => join(caches[cache]!, "nats-server", version, "nats-server");
    fakeServer(at(0, "2.9.10"), "2.9.10");
    fakeServer(at(0, "2.10.27"), "2.10.27");
    const newest = fakeServer(at(1, "2.11.4"), "2.11.4");
    fakeServer(at(1, "2.12.0"), "2.9.9");
    writeFileSync(fakeServer(at(0, "2.13.0"), "2.13.0"), "#!/nowhere/sh\n");
    const { result, lines } = await listen({ caches, path: "", ways: ["path", "cache"] });
    assert.equal(result, { path: newest, version: "2.11.4", from: "cache" });
    assert.is(lines.length, 2);
    assert.match(lines[0]!, "does not run");
    assert.match(lines[1]!, "not the version its directory says");
  }));

test("a release is fetched, checked and cached; the next start needs no network", () =>
  withDirectory((directory) =>
    withRelease(directory, "2.11.9", sumLine, async (releases) => {
      const options = { caches: [join(directory, "cache")], path: "", version: "2.11.9" };
      const first = await listen({ ...options, releases, ways: ["path", "cache", "release"] });
      const path = join(directory, "cache", "nats-server", "2.11.9", "nats-server");
      assert.equal(first.result, { path, version: "2.11.9", from: "release" });
      assert.match(first.lines.join("\n"), "fetching nats-server-v2.11.9");
      assert.equal(readdirSync(join(directory, "cache")), ["nats-server"], "no scratch is left");
      const second = await listen({ ...options, releases: "http://127.0.0.1:1", ways: ["path", "cache", "release"] });
      assert.equal(second.result, { path, version: "2.11.9", from: "cache" });
    }),
  ));

for (const [what, sums, message] of [
  [
    "whose sum differs",
    (_: string, file: string) => `${"a".repeat(64)}  ${file}\n`,
    /has SHA-256 [0-9a-f]{64}, its release says aaaa/,
  ],
  ["that its sums do not name", () => `${"a".repeat(64)}  other.tar.gz\n`, /SHA256SUMS does not name/],
] as const) {
  test(`a release ${what} is refused and nothing of it is kept`, () =>
    withDirectory((directory) =>
      withRelease(directory, "2.11.9", sums, async (releases) => {
        const cache = join(directory, "cache");
        const { result } = await listen({ caches: [cache], path: "", releases, version: "2.11.9", ways: ["release"] });
        assert.instance(result, Error);
        assert.match((result as Error).message, message);
        assert.equal(existsSync(cache) ? readdirSync(cache) : [], []);
      }),
    ));
}

test("a release that is itself too old is refused", () =>
  withDirectory((directory) =>
    withRelease(directory, "2.10.1", sumLine, async (releases) => {
      const { result } = await listen({
        caches: [join(directory, "cache")],
        path: "",
        releases,
        version: "2.10.1",
        ways: ["release"],
      });
      assert.match((result as Error).message, "it is 2.10.1, too old");
    }),
  ));

test("a host that never answers is given up after the connection time", () =>
  withDirectory(async (directory) => {
    const silent = createServer(() => undefined).listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    const releases = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const { result } = await listen({ caches: [directory], path: "", releases, connectMs: 100, ways: ["release"] });
    assert.match((result as Error).message, "no answer within 100 ms");
    silent.closeAllConnections();
    await new Promise((resolve) => silent.close(resolve));
  }));

test("when every way fails, one error lists the ways and what to do", () =>
  withDirectory(async (directory) => {
    const ways = ["path", "cache", "release"] as const;
    const { result } = await listen({ caches: [directory], path: "", releases: "http://127.0.0.1:1", ways });
    const { message } = result as Error;
    for (const part of [/path: none/, /cache: none/, /release: http/, /NATS_URL/, /put nats-server on PATH/])
      assert.match(message, part);
  }));

test.run();
