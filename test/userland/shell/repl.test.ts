import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { personPermissions } from "../../../kernel/abi/rights.ts";
import { formatCreds } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import type { Request } from "../../../kernel/ipc/request.ts";
import { type Kernel, startKernel } from "../../helpers/kernel.ts";
import { until } from "../../helpers/system.ts";
import { terminal } from "../../helpers/terminal.ts";
import { startWorld, type World } from "../../helpers/world.ts";

const SOMA = fileURLToPath(new URL("../../../userland/shell/soma.mjs", import.meta.url));
const CTRL_C = "\x03";
const CTRL_D = "\x04";
const UP = "\x1b[A";

const command = terminal([process.execPath, SOMA]);
let world: World;
let kernel: Kernel;
let home: string;
let canceled = 0;

test.before(async () => {
  world = await startWorld();
  kernel = await startKernel(world, {
    ps: () => ({
      processes: [
        { id: "model-1", kind: "service", owner: "kernel", state: "ready", epoch: 1, restarts: 0, uptimeMs: 5 },
      ],
    }),
    // Goes on until it is canceled.
    log: async (_input: unknown, request: Request) => {
      const line = { at: 0, actor: "model-1", level: "info", message: "first line" };
      await request.emit({ lines: [line] });
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve, { once: true }));
      canceled += 1;
      return { lines: 1 };
    },
  } as never);
  home = mkdtempSync(join(tmpdir(), "soma-repl-"));
  const key = createKey("user");
  const { pub, sub } = personPermissions("person");
  const permissions = { pub: { allow: pub }, sub: { allow: sub } };
  const jwt = world.authority.mintActor({ name: "person", publicKey: key.publicKey, permissions });
  writeFileSync(join(home, "person.creds"), formatCreds({ name: "person", jwt, key }));
});
const shells: Shell[] = [];
test.after(async () => {
  for (const { child } of shells) child.kill("SIGKILL");
  await kernel.stop();
  await world.stop();
  rmSync(home, { recursive: true, force: true });
});

class Shell {
  text = "";
  private seen = 0;
  readonly child: ChildProcess;
  readonly ended: Promise<[number]>;

  constructor() {
    const { NATS_URL: _, NODE_REPL_HISTORY: __, ...env } = process.env;
    const [program, ...args] = command!;
    this.child = spawn(program!, args, {
      env: {
        ...env,
        TERM: "xterm",
        SHELL: "/bin/sh",
        SOMA_HOME: home,
        NATS_URL: world.url,
        SOMA_CREDS_FILE: join(home, "person.creds"),
      },
      stdio: ["pipe", "pipe", "pipe"],
    });
    for (const output of [this.child.stdout!, this.child.stderr!])
      output.setEncoding("utf8").on("data", (text: string) => {
        this.text += text;
      });
    this.ended = once(this.child, "exit") as Promise<[number]>;
    shells.push(this);
  }

  type(keys: string): void {
    this.child.stdin!.write(keys);
  }

  /** Waits for a text after all that was awaited before; returns what came up to its end. */
  async sees(text: string): Promise<string> {
    const plain = () => stripVTControlCharacters(this.text);
    const there = () => plain().indexOf(text, this.seen) >= 0;
    await until(`the shell shows ${JSON.stringify(text)}`, there, this);
    const end = plain().indexOf(text, this.seen) + text.length;
    const found = plain().slice(this.seen, end);
    this.seen = end;
    return found;
  }
}

if (command === undefined) {
  console.log("SKIPPED: no terminal to be had here, neither by script nor by python3's pty");
} else {
  test("a person at the prompt completes, runs, cancels and leaves", async () => {
    const shell = new Shell();
    await shell.sees("soma> ");
    shell.type("inf\t");
    await shell.sees("info ");
    shell.type(CTRL_C);
    await shell.sees("^C");
    await shell.sees("soma> ");
    shell.type("mo\t");
    await shell.sees("model ");
    shell.type("sh\t");
    await shell.sees("show ");
    shell.type(CTRL_C);
    await shell.sees("^C");
    await shell.sees("soma> ");
    shell.type("kill mo\t");
    await shell.sees("kill model-1 ");
    shell.type(CTRL_C);
    await shell.sees("^C");
    await shell.sees("soma> ");

    shell.type("ps\r");
    assert.match(await shell.sees("soma> "), /ID +KIND.*model-1 +service/s);
    shell.type("nothing at all\r");
    assert.match(await shell.sees("soma> "), "unknown command");
    shell.type('run "open\r');
    assert.match(await shell.sees("soma> "), "EINVAL");

    shell.type("log -f\r");
    await shell.sees("first line");
    shell.type(CTRL_C);
    await until("the log was canceled", () => canceled === 1, shell);
    const after = await shell.sees("soma> ");
    assert.not.match(after, "To exit");
    // A second one, as an impatient person would, is no way out either.
    shell.type("log -f\r");
    await shell.sees("first line");
    shell.type(CTRL_C + CTRL_C + CTRL_C);
    await until("the log was canceled again", () => canceled === 2, shell);
    await shell.sees("soma> ");
    shell.type("ps\r");
    await shell.sees("model-1");
    await shell.sees("soma> ");

    shell.type(CTRL_D);
    assert.is((await shell.ended)[0], 0);
    assert.equal(readFileSync(join(home, "history"), "utf8").split("\n").slice(0, 3), ["ps", "log -f", 'run "open']);
  });

  test("the next shell knows what was typed in the last", async () => {
    const shell = new Shell();
    await shell.sees("soma> ");
    shell.type(UP);
    await shell.sees("ps");
    shell.type("\r");
    assert.match(await shell.sees("soma> "), "model-1");
    shell.type(CTRL_D);
    assert.is((await shell.ended)[0], 0);
  });

  test("Ctrl-D leaves at once, also while a command runs", async () => {
    const shell = new Shell();
    await shell.sees("soma> ");
    shell.type("log -f\r");
    await shell.sees("first line");
    shell.type(CTRL_D);
    assert.is((await shell.ended)[0], 0);
  });
}

test.run();
