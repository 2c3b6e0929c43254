// Owns what a Hugging Face repository holds at a revision, and which of its files make a model.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { WEIGHTS } from "../folders.ts";
import { INDEX } from "../weights/shards.ts";

export interface HubFile {
  name: string;
  bytes: number;
  /** Of the content (large files), or of git's blob of it: its SHA-1 over "blob <bytes>\0" and the content. */
  sha256?: string;
  sha1?: string;
}

export interface Listing {
  repo: string;
  /** The commit that the revision names. */
  commit: string;
  files: HubFile[];
}

/** What a model folder may hold beside its weights. */
const SMALL = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
];

/** `OWNER/NAME` and, after an "@", a branch, tag or commit. EINVAL for anything else. */
export function parseRepo(text: string): { repo: string; revision: string } {
  const [, repo, revision] = /^([\w.-]+\/[\w.-]+?)(?:@([\w./-]+))?$/.exec(text) ?? [];
  const dots = `${repo}/${revision ?? ""}`.split("/").some((part) => part === "." || part === "..");
  if (repo !== undefined && !dots) return { repo, revision: revision ?? "main" };
  throw new SomaError("EINVAL", `"${text}" is no repository: use OWNER/NAME or OWNER/NAME@REVISION`);
}

/** The hub's answer to /api/models/<repo>/revision/<revision>?blobs=true. EIO when it is something else. */
export function parseListing(repo: string, answer: unknown): Listing {
  const { sha, siblings } = (answer ?? {}) as { sha?: unknown; siblings?: unknown };
  if (typeof sha !== "string" || !/^[0-9a-f]{6,64}$/.test(sha) || !Array.isArray(siblings))
    throw new SomaError("EIO", `the hub's answer about ${repo} is no listing: check HF_ENDPOINT`, { executed: "no" });
  const files = siblings.map((one): HubFile => {
    const { rfilename, size, blobId, lfs } = one as Record<string, any>;
    const sums = lfs?.sha256 ? { sha256: String(lfs.sha256) } : blobId ? { sha1: String(blobId) } : {};
    return { name: String(rfilename), bytes: Number(lfs?.size ?? size ?? 0), ...sums };
  });
  return { repo, commit: sha, files };
}

/**
 * The files to fetch first, and the weights: safetensors in one file or by index, or else a GGUF file. `file` names one
 * that is wanted. EINVAL says what the repository lacks; ENOENT, that `file` is not in it.
 */
export function choose({ repo, files }: Listing, file?: string): { small: HubFile[]; weights: HubFile[] } {
  const at = (name: string) => files.find((one) => one.name === name);
  const refuse = (what: string): never => {
    throw new SomaError("EINVAL", `${repo} ${what}`);
  };
  if (file !== undefined && !file.endsWith(".gguf")) refuse(`: --file chooses one of several GGUF files, not ${file}`);
  const wanted = file === undefined ? undefined : at(file);
  if (file !== undefined && !wanted) throw new SomaError("ENOENT", `${repo} has no file ${file}`);
  if (wanted) return { small: [], weights: [wanted] };
  const small = SMALL.flatMap((name) => at(name) ?? []);
  const whole = at(WEIGHTS);
  const index = at(INDEX);
  if (whole || index) {
    for (const name of ["config.json", "tokenizer.json"]) if (!at(name)) refuse(`has no ${name}: soma needs it`);
    return whole ? { small, weights: [whole] } : { small: [...small, index!], weights: [] };
  }
  const ggufs = files.filter(({ name }) => name.endsWith(".gguf"));
  if (ggufs.length === 1) return { small: [], weights: ggufs };
  if (ggufs.length > 1)
    refuse(`has several GGUF files, choose with --file: ${ggufs.map(({ name }) => name).join(", ")}`);
  const others = files.map(({ name }) => name).filter((name) => /\.(bin|pt|pth|h5|msgpack|onnx)$/.test(name));
  return refuse(`has no safetensors or GGUF weights${others.length > 0 ? `, only ${others.join(", ")}` : ""}`);
}
