import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { parseRepo } from "../../../../services/model/hub/listing.ts";
import { type PullProgress, pull } from "../../../../services/model/hub/pull.ts";
import { type FakeHub, startHub } from "./hub.ts";

const random = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed * (i >> 8)) & 255);
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const config = json({ model_type: "llama" });
const small = { "config.json": config, "tokenizer.json": json({ a: 1 }) };
const weights = random(200_000, 3);
const index = json({ weight_map: { a: "model-1.safetensors", b: "model-2.safetensors", c: "model-1.safetensors" } });
const repos = {
  "o/whole": { ...small, "README.md": random(9, 1), "pytorch_model.bin": random(9, 2), "model.safetensors": weights },
  "o/shards": {
    ...small,
    "model.safetensors.index.json": index,
    "model-1.safetensors": random(5000, 4),
    "model-2.safetensors": random(6000, 5),
    "unused.safetensors": random(7000, 6),
  },
  "o/gguf": { "m-Q4_0.gguf": random(900, 7), "m-Q8_0.gguf": random(800, 8) },
  "o/torch": { ...small, "pytorch_model.bin": random(9, 2) },
  "o/bert": { ...small, "config.json": json({ model_type: "bert" }), "model.safetensors": weights },
  "o/bare": { "config.json": config, "model.safetensors": weights },
};

/** Pulls from a hub of its own into a cache of its own. */
async function withHub(
  work: (hub: FakeHub, fetch: (repo: string, file?: string, token?: string) => Promise<string>) => Promise<void>,
  progress: (progress: PullProgress) => void = () => {},
) {
  const hub = await startHub(repos);
  const cache = mkdtempSync(join(tmpdir(), "soma-hub-"));
  const options = { endpoint: hub.endpoint, tries: 3, pauseMs: 5, signal: new AbortController().signal };
  try {
    await work(hub, (repo, file, token) =>
      pull({ ...options, ...(token ? { token } : {}) }, cache, repo, file, progress),
    );
  } finally {
    await hub.close();
    rmSync(cache, { recursive: true });
  }
}

async function refusal(code: string, work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("nothing was refused"),
    (error: Error) => error,
  );
  assert.ok(isSomaError(error, code as "EIO"), `expected ${code}, got ${error}`);
  return error.message;
}

const filesOf = (hub: FakeHub) => hub.requests.flatMap((line) => /resolve\/\w+\/(\S+)/.exec(line)?.[1] ?? []);

test("a pull takes the files of the model and no others, and tells how far it is", async () => {
  const seen: PullProgress[] = [];
  await withHub(
    async (hub, fetch) => {
      const dir = await fetch("o/whole");
      assert.equal(readFileSync(join(dir, "model.safetensors")), Buffer.from(weights));
      assert.equal(filesOf(hub), ["config.json", "tokenizer.json", "model.safetensors"]);
      const { done, total } = seen.at(-1)!;
      assert.equal([done, total], [total, 200_000 + config.length + 7]);
    },
    (progress) => seen.push(progress),
  );
});

test("of a model in shards all that the index names come", () =>
  withHub(async (hub, fetch) => {
    await fetch("o/shards");
    assert.equal(filesOf(hub).slice(3), ["model-1.safetensors", "model-2.safetensors"]);
  }));

test("a file that breaks off goes on from the byte where it was", () =>
  withHub(async (hub, fetch) => {
    await fetch("o/whole").then(() => hub.requests.splice(0));
    rmSync(join(await fetch("o/whole"), "model.safetensors"));
    hub.requests.splice(0);
    hub.breaks.push(70_000, 70_000);
    const dir = await fetch("o/whole");
    assert.equal(readFileSync(join(dir, "model.safetensors")), Buffer.from(weights));
    const ranges = hub.requests.slice(1).map((line) => Number(/bytes=(\d+)/.exec(line)?.[1] ?? 0));
    assert.is(ranges.length, 3);
    assert.ok(ranges[0] === 0 && ranges[1]! > 0 && ranges[2]! > ranges[1]!, String(ranges));
  }));

test("a pull that gave up goes on at the next one, even where the hub knows no ranges", () =>
  withHub(async (hub, fetch) => {
    await fetch("o/gguf", "m-Q4_0.gguf");
    hub.breaks.push(0, 0, 0);
    const what = await refusal("EIO", fetch("o/gguf", "m-Q8_0.gguf"));
    assert.match(what, "run the command again");
    hub.breaks.push(500, 0, 0, 0);
    await refusal("EIO", fetch("o/gguf", "m-Q8_0.gguf"));
    hub.rangeless = true;
    const path = await fetch("o/gguf", "m-Q8_0.gguf");
    assert.equal(readFileSync(path), Buffer.from(repos["o/gguf"]["m-Q8_0.gguf"]));
  }));

test("a file with a wrong sum is thrown away, whether its sum is SHA-256 or git's", () =>
  withHub(async (hub, fetch) => {
    for (const [name, size] of [
      ["tokenizer.json", 7],
      ["model.safetensors", 200_000],
    ] as const) {
      hub.wrong.set(name, random(size, 99));
      assert.match(await refusal("EIO", fetch("o/whole")), `${name} of o/whole has a wrong checksum`);
      hub.wrong.clear();
    }
    const dir = await fetch("o/whole");
    assert.equal(readFileSync(join(dir, "model.safetensors")), Buffer.from(weights));
    assert.not(existsSync(join(dir, "model.safetensors.partial")));
  }));

test("a hub that wants a token says so, and gets it", () =>
  withHub(async (hub, fetch) => {
    hub.token = "hf_secret";
    assert.match(await refusal("EPERM", fetch("o/whole")), "set HF_TOKEN");
    const what = await refusal("EPERM", fetch("o/whole", undefined, "hf_other"));
    assert.match(what, "does not open it");
    assert.not.match(what, "hf_other");
    await fetch("o/whole", undefined, "hf_secret");
  }));

test("without a network the cache answers, and a model that is not in it is refused", () =>
  withHub(async (hub, fetch) => {
    const dir = await fetch("o/whole");
    await hub.close();
    assert.is(await fetch("o/whole"), dir);
    assert.match(await refusal("EIO", fetch("o/shards")), "HF_ENDPOINT");
  }));

test("what cannot be loaded is refused before its weights are fetched", () =>
  withHub(async (hub, fetch) => {
    const cases: [string, "EINVAL" | "ENOENT", string][] = [
      ["o/nowhere", "ENOENT", "404"],
      ["o/torch", "EINVAL", "no safetensors or GGUF weights, only pytorch_model.bin"],
      ["o/bert", "EINVAL", "is a bert, which no driver runs"],
      ["o/bare", "EINVAL", "has no tokenizer.json"],
      ["o/gguf", "EINVAL", "choose with --file: m-Q4_0.gguf, m-Q8_0.gguf"],
      ["just-a-name", "EINVAL", "OWNER/NAME"],
    ];
    for (const [repo, code, what] of cases) assert.match(await refusal(code, fetch(repo)), what);
    await refusal("ENOENT", fetch("o/gguf", "m-Q2_K.gguf"));
    assert.not.ok(filesOf(hub).includes("model.safetensors"));
  }));

test("a repository's name cannot leave the cache", () => {
  assert.equal(parseRepo("a/b@refs/pr/1"), { repo: "a/b", revision: "refs/pr/1" });
  for (const text of ["../x", "a/..", "a/b/c", "a", "a/b@../..", "/a/b", ""])
    assert.throws(() => parseRepo(text), /is no repository/, text);
});

test.run();
