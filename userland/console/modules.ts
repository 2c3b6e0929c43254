// Owns the files of the page and of the packages that it uses, as ES modules: bare names become addresses, as an import map would make them, which the policy forbids for it is inline.
import { readdirSync, readFileSync } from "node:fs";

/** By the name that is imported: the file in node_modules. All that the page loads that is not ours. */
const PACKAGES: Record<string, string> = {
  preact: "preact/dist/preact.mjs",
  "preact/hooks": "preact/hooks/dist/hooks.mjs",
  htm: "htm/dist/htm.mjs",
  "htm/preact": "htm/preact/index.mjs",
  "@preact/signals": "@preact/signals/dist/signals.mjs",
  "@preact/signals-core": "@preact/signals-core/dist/signals-core.mjs",
  uplot: "uplot/dist/uPlot.esm.js",
  "@dagrejs/dagre": "@dagrejs/dagre/dist/dagre.esm.js",
};
const SHEETS: Record<string, string> = { "uplot.css": "uplot/dist/uPlot.min.css" };

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

export interface File {
  type: string;
  text: string;
}

/** By path: `/` the page itself, `/page/<file>` ours, `/module/<name>` of a package. Read once, at start. */
export function files(): Map<string, File> {
  const page = new URL("./page/", import.meta.url);
  const packages = new URL("../../node_modules/", import.meta.url);
  const made = new Map<string, File>();
  const add = (path: string, base: URL, name: string) => {
    const type = TYPES[name.split(".").at(-1)!] ?? TYPES.js!;
    const text = readFileSync(new URL(name, base), "utf8");
    made.set(path, { type, text: type === TYPES.js ? addressed(text) : text });
  };
  for (const name of readdirSync(page)) add(name === "page.html" ? "/" : `/page/${name}`, page, name);
  for (const [name, file] of Object.entries(PACKAGES)) add(address(name), packages, file);
  for (const [name, file] of Object.entries(SHEETS)) add(address(name), packages, file);
  return made;
}

const address = (name: string) => `/module/${name}`;

/** Source maps are named by address, and a browser with its tools open would ask for them in vain. */
export function addressed(text: string): string {
  return text
    .replace(/(\bfrom\s*|\bimport\s*)(["'])([^"'\n]+)\2/g, (whole, before: string, quote: string, name: string) =>
      Object.hasOwn(PACKAGES, name) ? `${before}${quote}${address(name)}${quote}` : whole,
    )
    .replace(/^\/\/# sourceMappingURL=.*$/gm, "");
}
