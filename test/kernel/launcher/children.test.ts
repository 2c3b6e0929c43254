import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Children } from "../../../kernel/launcher/children.ts";
import { startOf } from "../../../kernel/launcher/lock.ts";
import type { Report, StartOrder } from "../../../kernel/launcher/protocol.ts";
import { TETHER_KINDS, type TetherKind, tetherKind } from "../../../kernel/launcher/tether.ts";
import { withDirectory, within } from "../broker/harness.ts";
import { gone } from "./machine.ts";

type Of<T extends Report["type"]> = Extract<Report, { type: T }>;

/** Children whose reports can be waited for; none is left at the end. */
async function withChildren(
  tether: TetherKind,
  work: (bench: Bench, directory: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const bench = new Bench(directory, tether);
    try {
      await work(bench, directory);
    } finally {
      await bench.children.end(0);
    }
    assert.equal(bench.children.list(), []);
  });
}

class Bench {
  readonly children: Children;
  readonly output: string[] = [];
  #reports: Report[] = [];
  #wake: () => void = () => undefined;

  constructor(directory: string, tether: TetherKind) {
    this.children = new Children({
      log: directory,
      tether,
      say: (line) => assert.unreachable(line),
      echo: (_, chunk) => this.output.push(chunk.toString()),
      report: (report) => {
        this.#reports.push(report);
        this.#wake();
      },
    });
  }

  start(id: string, args: string[], more: Partial<StartOrder> = {}): void {
    this.children.start({ type: "start", id, entry: "test/kernel/launcher/child.ts", args, ...more });
  }

  /** The next report of this type, in order; others before it are kept. */
  async next<T extends Report["type"]>(type: T): Promise<Of<T>> {
    for (;;) {
      const at = this.#reports.findIndex((report) => report.type === type);
      if (at >= 0) return this.#reports.splice(at, 1)[0] as Of<T>;
      await within(`the report ${type}`, new Promise<void>((resolve) => (this.#wake = resolve)));
    }
  }

  /** Resolves when the children have printed `text`. */
  async printed(text: string): Promise<void> {
    const all = async () => {
      while (!this.output.join("").includes(text)) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await within(`the output ${text}`, all());
  }
}

for (const tether of TETHER_KINDS.filter((kind) => kind === "pipe" || kind === tetherKind())) {
  test(`a child (${tether}) gets its secret, its limit, its environment and nothing else of ours`, () =>
    withChildren(tether, async (bench, directory) => {
      process.env.SOMA_TEST_SECRET = "x";
      bench.start("a", ["secret"], { stdin: "s3cret", memoryMb: 99, env: { GIVEN: "1" } });
      const { pid } = await bench.next("started");
      const exited = await bench.next("exited");
      delete process.env.SOMA_TEST_SECRET;
      assert.is(exited.pid, pid);
      assert.equal([exited.code, exited.signal], [0, null]);
      assert.is(exited.lines[1], "secret s3cret, limit --max-old-space-size=99");
      const names = exited.lines[0]!.replace("child secret with ", "").split(",");
      const expected = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"].filter((name) => process.env[name] !== undefined);
      assert.equal(names, [...expected, "GIVEN"].sort());
      assert.is(readFileSync(join(directory, "a.log"), "utf8"), `${exited.lines.join("\n")}\n`);
    }));

  test(`a child (${tether}) that fails says why in its exit`, () =>
    withChildren(tether, async (bench) => {
      bench.start("a", ["throw"]);
      const thrown = await bench.next("exited");
      assert.is(thrown.code, 1);
      assert.match(thrown.lines.join("\n"), "it went wrong");
      bench.start("a", ["exit", "7"]);
      assert.is((await bench.next("exited")).code, 7);
    }));

  test(`a stubborn and a busy child (${tether}) are killed after the grace`, () =>
    withChildren(tether, async (bench) => {
      bench.start("stubborn", ["stubborn"]);
      bench.start("busy", ["busy"]);
      await bench.printed("child stubborn");
      await bench.printed("child busy");
      await bench.children.end(100);
      const exits = [await bench.next("exited"), await bench.next("exited")];
      assert.match(exits.find(({ id }) => id === "stubborn")!.lines.join("\n"), "not me");
      assert.is(exits.find(({ id }) => id === "stubborn")!.signal, "SIGKILL");
    }));
}

test("signals reach the child that they are for, and only while it runs", () =>
  withChildren(tetherKind(), async (bench) => {
    bench.start("a", ["wait"]);
    bench.start("b", ["wait"]);
    const [a, b] = [await bench.next("started"), await bench.next("started")];
    assert.equal(
      bench.children.list().map(({ id, pid }) => [id, pid]),
      [
        ["a", a.pid],
        ["b", b.pid],
      ],
    );
    bench.children.kill("a", "SIGTERM");
    const { id, signal } = await bench.next("exited");
    assert.equal([id, signal], ["a", "SIGTERM"]);
    assert.not.equal(startOf(b.pid), undefined);
    bench.children.kill("a", "SIGTERM");
    assert.match((await bench.next("refused")).reason, "a does not run");
  }));

test("whom a child has started ends with it, however it ends", () =>
  withChildren(tetherKind(), async (bench) => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      bench.output.length = 0;
      bench.start("a", ["parent"]);
      await bench.printed(".\n");
      const grandchild = Number(bench.output.join("").match(/grandchild (\d+)/)![1]);
      assert.not.equal(startOf(grandchild), undefined);
      bench.children.kill("a", signal);
      assert.is((await bench.next("exited")).signal, signal);
      await gone([grandchild]);
    }
  }));

test("an id that is taken or malformed is refused and nothing is started", () =>
  withChildren(tetherKind(), async (bench) => {
    bench.start("a", ["wait"]);
    await bench.next("started");
    bench.start("a", ["wait"]);
    assert.match((await bench.next("refused")).reason, "a runs already");
    bench.start("../a", ["wait"]);
    assert.match((await bench.next("refused")).reason, "the id must be");
    assert.is(bench.children.list().length, 1);
  }));

test("an entry that is missing ends as any failing child does", () =>
  withChildren(tetherKind(), async (bench) => {
    bench.start("a", [], { entry: "no/such/program.ts" });
    const { code, lines } = await bench.next("exited");
    assert.is(code, 1);
    assert.match(lines.join("\n"), "no/such/program.ts");
  }));

test.run();
