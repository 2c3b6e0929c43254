// The console as a person sees it: a whole system, the console run as an app, and a headless Chromium.
import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../../kernel/ipc/client.ts";
import { CONSOLE, installApp } from "../../../userland/shell/commands/app.ts";
import { ps, System, until } from "../../helpers/system.ts";
import { modelFolder } from "../../services/model/running.ts";

const CHROMIUM = "/usr/bin/chromium";

let system: System;
let person: Client;
let browser: Browser;
let page: Page;
/** What the console printed. */
let printed = "";
/** Errors of the page, and requests that left the console's own address. */
const errors: string[] = [];
const outside: string[] = [];

const go = async (name: string) => {
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
};
const queue = async () => (await person.call("scheduler.queue", {})).sequences;

if (!existsSync(CHROMIUM)) {
  console.log("SKIPPED the console in a browser: there is no Chromium (Debian: apt install chromium)");
  test("the console in a browser needs Chromium", () => assert.not(existsSync(CHROMIUM)));
} else {
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
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    const address = new URL(/http:\S+/.exec(printed)![0]).origin;
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== address) outside.push(request.url());
    });
  });
  test.after(async () => {
    await browser?.close();
    await system.stop();
  });

  test("nobody sees anything before the login, and the printed address logs in", async () => {
    const url = /http:\S+/.exec(printed)![0];
    const { origin } = new URL(url);
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
