// The console as a person sees it: a whole system, the console run as an app, and a headless Chromium.
import type { Browser, Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../../kernel/ipc/client.ts";
import { CONSOLE, installApp } from "../../../userland/shell/commands/app.ts";
import { findChromium, launch } from "../../helpers/chromium.ts";
import { ps, System, until } from "../../helpers/system.ts";
import { modelFolder } from "../../services/model/running.ts";

const CHROMIUM = findChromium();

let system: System;
let person: Client;
/** What the console printed. */
let printed = "";

/** The address that it printed, with the token. */
const address = () => new URL(/http:\S+/.exec(printed)![0]);

test.before(async () => {
  system = new System();
  person = await system.up();
  await person.call("model.importDir", { dir: modelFolder({ context: 8192 }), name: "fox" });
  await person.call("model.deploy", { model: "fox", alias: "default" });
  const soma = { auth: { install: (input: never) => person.call("auth.install", input) } };
  await installApp(soma as never, CONSOLE);
  const run = person.stream("kernel.spawn", { app: CONSOLE, args: ["--port=0"] });
  void (async () => {
    for await (const { data } of run) printed += Buffer.from(data).toString();
  })().catch((error) => {
    printed += String(error);
  });
  await until("the console listens", () => /http:\S+#token=\S+/.test(printed), {
    get text() {
      return printed;
    },
  });
});
test.after(() => system.stop());

test("by its grant alone the console reads all that its pages show, and is told no context of an actor", async () => {
  const { origin, hash } = address();
  const token = hash.slice("#token=".length);
  const headers = { origin, "content-type": "application/json" };
  const login = await fetch(`${origin}/login`, { method: "POST", headers, body: JSON.stringify({ token }) });
  assert.is(login.status, 200);
  const cookie = login.headers.get("set-cookie")!.split(";")[0]!;
  /** The first frame of a feed. */
  const read = async (topic: string) => {
    const stop = new AbortController();
    const answer = await fetch(`${origin}/feed/${topic}`, { headers: { cookie }, signal: stop.signal });
    assert.is(answer.status, 200, topic);
    const reader = answer.body!.getReader();
    let text = "";
    while (!text.includes("\n\n")) text += Buffer.from((await reader.read()).value!).toString();
    stop.abort();
    const { value, problem } = JSON.parse(text.slice("data: ".length));
    assert.is(problem, undefined, `${topic}: ${JSON.stringify(problem)}`);
    return value;
  };
  const topics = ["overview", "queue", "devices", "models", "model?ref=fox", "jobs", "apps", "traces", "audit"];
  for (const topic of topics) assert.ok(await read(topic), topic);
  const actors = (await read("actors")) as { id: string; problem?: string; actors: { context: unknown }[] }[];
  assert.equal(
    actors.map(({ id, problem }) => [id, problem]),
    ["kernel", "auth-1", "memory-1", "device-1", "scheduler-1", "model-1"].map((id) => [id, undefined]),
  );
  for (const { context } of actors.flatMap(({ actors }) => actors)) assert.is(context, "<hidden>");
});

if (CHROMIUM === undefined)
  console.log(
    "SKIPPED the console's pages: no chromium on PATH (Debian: apt install chromium; SOMA_CHROMIUM names one)",
  );
else inBrowser(CHROMIUM);

function inBrowser(executable: string): void {
  let browser: Browser;
  let page: Page;
  /** Errors of the page, and requests that left the console's own address. */
  const errors: string[] = [];
  const outside: string[] = [];

  const go = async (name: string) => {
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
  };
  const queue = async () => (await person.call("scheduler.queue", {})).sequences;

  test.before(async () => {
    browser = await launch(executable);
    page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== address().origin) outside.push(request.url());
    });
  });
  test.after(() => browser?.close());

  test("nobody sees anything before the login, and the printed address logs in", async () => {
    const { origin, href: url } = address();
    assert.is((await fetch(`${origin}/feed/overview`)).status, 401);
    await page.goto(origin);
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Log in" }).press("Enter");
    await page.getByRole("alert").waitFor();
    // The browser itself reports the refusal that was asked for.
    errors.splice(0);
    await page.goto("about:blank");
    await page.goto(url);
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.getByText("5 of 5").waitFor();
    assert.not.match(page.url(), /token/);
    assert.is(await page.evaluate(() => document.cookie), "", "scripts see the cookie");
  });

  test("every page is reached by keyboard and shows what there is", async () => {
    for (const name of ["Actors", "Queue", "Devices", "Models", "Jobs", "Apps", "Traces", "Audit", "Playground"]) {
      await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { level: 1, name }).waitFor();
      await page.getByText("loading", { exact: true }).waitFor({ state: "detached" });
      assert.is(await page.locator(".problem").count(), 0, `${name}: ${await page.locator("main").innerText()}`);
      assert.is(await page.evaluate(() => document.activeElement?.id), "title", `${name} takes the focus`);
    }
    await go("Models");
    await page.getByRole("link", { name: "fox@1" }).click();
    await page.getByText("it was not measured").waitFor();
  });

  test("a service that is killed is seen to die and to come back in its statechart", async () => {
    await go("Actors");
    await page.getByRole("navigation", { name: "Processes" }).getByRole("link", { name: "memory-1" }).click();
    const chart = page.getByRole("region", { name: "statechart of memory-1" }).first();
    await chart.locator(".now[data-state]", { hasText: "ready" }).first().waitFor();
    const before = (await ps(person)).find(({ id }) => id === "memory-1")!;
    // Each state that was marked, as a reader of the page would see it.
    await page.evaluate(() => {
      const seen: string[] = ((window as never as { seen: string[] }).seen = []);
      new MutationObserver(() => {
        const marked = Array.from(document.querySelectorAll(".statechart .now"));
        seen.push(marked.map((state) => state.getAttribute("data-state")).join("+"));
      }).observe(document.querySelector("main")!, { subtree: true, attributes: true, childList: true });
    });
    process.kill(before.pid!, "SIGKILL");
    const table = page.getByRole("region", { name: "Last transitions of memory-1" }).first();
    await table
      .getByRole("cell", { name: /exit|died/i })
      .first()
      .waitFor();
    await system.state(person, "memory-1", "ready", ({ epoch }) => epoch! > before.epoch!);
    await chart.locator(".now[data-state]", { hasText: "ready" }).first().waitFor();
    const seen = await page.evaluate(() => (window as never as { seen: string[] }).seen);
    assert.ok(
      seen.some((states) => !/ready/.test(states)),
      `it was never seen away: ${[...new Set(seen)]}`,
    );
  });

  test("text comes piece by piece, and a generation that is stopped ends in the scheduler too", async () => {
    await go("Playground");
    await page.getByLabel("Text").fill("the quick brown fox");
    await page.getByLabel("Most tokens").fill("6");
    await page.getByRole("button", { name: "Ask" }).click();
    await page.getByText(/^(stop|length): 6 tokens by fox@1/).waitFor();
    await page.getByRole("button", { name: "Forget" }).click();

    await page.getByLabel("What").selectOption("complete");
    await page.getByLabel("Most tokens").fill("8000");
    await page.getByLabel("Temperature").fill("1");
    await page.getByLabel("Seed").fill("7");
    await page.getByLabel("Text").fill("the lazy dog");
    await page.getByRole("button", { name: "Ask" }).click();
    await page.locator("[data-answer]:not(:empty)").waitFor();
    assert.is((await queue()).length, 1);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("stopped", { exact: true }).waitFor();
    await until("nothing runs any more", async () => (await queue()).length === 0);
  });

  test("a loss curve moves while a job trains, and the page says when it was cancelled", async () => {
    const { job } = await person.call("model.train", {
      name: "numbers",
      architecture: "mlp",
      data: "random",
      config: { layers: [32, 64, 32] },
      hyper: { steps: 200_000 },
    });
    await go("Jobs");
    await page.getByRole("link", { name: job }).click();
    const plot = page.getByRole("img", { name: `Loss of job ${job}` });
    await plot.waitFor();
    const read = async () => Number(/step (\d+)/.exec(await page.locator("[data-points]").innerText())![1]);
    const first = await read();
    const label = await plot.getAttribute("aria-label");
    await until("the curve is longer", async () => (await read()) > first);
    await until("the loss is another", async () => (await plot.getAttribute("aria-label")) !== label);
    await person.call("model.stop", { job });
    await page.getByRole("cell", { name: "canceled" }).waitFor();
  });

  test("at phone width, in the dark, nothing is cut off", async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await page.emulateMedia({ colorScheme: "dark" });
    for (const name of ["Overview", "Actors", "Devices", "Playground"]) {
      await go(name);
      await page.getByText("loading", { exact: true }).waitFor({ state: "detached" });
      const [page_, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(page_! <= window_!, `${name} is ${page_} wide`);
    }
  });

  test("whoever logged out sees nothing more", async () => {
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
    assert.is(await page.evaluate(async () => (await fetch("/feed/overview")).status), 401);
    errors.pop();
  });

  test("no page had an error or asked for anything from elsewhere", () => {
    assert.equal(errors, []);
    assert.equal(outside, []);
  });
}

test.run();
