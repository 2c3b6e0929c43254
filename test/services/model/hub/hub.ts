// A Hugging Face hub on loopback: listing, resolve with ranges, tokens, and breakdowns on demand.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakeHub {
  endpoint: string;
  /** `GET <path> <range>` of each request, in order. */
  requests: string[];
  /** Whoever asks needs this. */
  token?: string;
  /** Bytes after which the next answers with a file break off. */
  breaks: number[];
  /** A file is answered with these bytes instead. */
  wrong: Map<string, Uint8Array>;
  /** Answers without looking at ranges. */
  rangeless: boolean;
  close(): Promise<void>;
}

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Files whose names end in .safetensors or .gguf are large ones, with a SHA-256. */
export async function startHub(repos: Record<string, Record<string, Uint8Array>>): Promise<FakeHub> {
  const hub: FakeHub = { endpoint: "", requests: [], breaks: [], wrong: new Map(), rangeless: false, close };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://hub");
    const { range = "", authorization } = request.headers;
    hub.requests.push(`${pathname} ${range}`.trim());
    if (hub.token && authorization !== `Bearer ${hub.token}`) return void response.writeHead(401).end();
    const [, listed] = /^\/api\/models\/(.+)\/revision\/\w+$/.exec(pathname) ?? [];
    if (listed && repos[listed]) {
      const siblings = Object.entries(repos[listed]).map(([rfilename, bytes]) => entry(rfilename, bytes));
      return void response.end(JSON.stringify({ sha: COMMIT, siblings }));
    }
    const [, repo = "", name = ""] = new RegExp(`^/(.+)/resolve/${COMMIT}/(.+)$`).exec(pathname) ?? [];
    const bytes = hub.wrong.get(name) ?? repos[repo]?.[name];
    if (!bytes) return void response.writeHead(404).end();
    const from = hub.rangeless ? 0 : Number(/^bytes=(\d+)-$/.exec(range)?.[1] ?? 0);
    if (from >= bytes.length && from > 0) return void response.writeHead(416).end();
    response.writeHead(from > 0 ? 206 : 200, { "content-length": bytes.length - from });
    const most = hub.breaks.shift();
    if (most === undefined) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, from + most), () => setTimeout(() => response.destroy(), 20));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  hub.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  async function close(): Promise<void> {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return hub;
}

function entry(rfilename: string, bytes: Uint8Array) {
  const blobId = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const large = /\.(safetensors|gguf)$/.test(rfilename);
  return { rfilename, size: bytes.length, blobId, ...(large ? { lfs: { sha256, size: bytes.length } } : {}) };
}
