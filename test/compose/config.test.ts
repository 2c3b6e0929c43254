// What docker-compose makes of our file. Nothing is built or started: docs/compose.md says how that is done by hand.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERVICES } from "../../kernel/abi/names.ts";
import { ROOT } from "../../kernel/launcher/node.ts";
import { loadManifest } from "../../kernel/manifest.ts";

test("the table for containers boots the same services as the one for a single machine, each elsewhere", () => {
  const [here, elsewhere] = [loadManifest(), loadManifest(join(ROOT, "deploy/containers.json"))];
  const names = (rows: typeof here) => rows.map(({ service, entry, core }) => ({ service, entry, core }));
  assert.equal(names(elsewhere), names(here));
  assert.ok(elsewhere.every(({ place }) => place === "container"));
});

const compose = [["docker-compose"], ["docker", "compose"]].find(
  ([program, ...args]) => spawnSync(program!, [...args, "version"]).status === 0,
);

/** The resolved file, with others on top of it: the lines of each part, by name. */
function parts(...others: string[]): Map<string, string> {
  const [program, ...rest] = compose!;
  const args = [...rest, ...["docker-compose.yml", ...others].flatMap((file) => ["-f", file])];
  const env = { ...process.env, COMPOSE_PROFILES: "shell,gpu" };
  const { status, stdout, stderr } = spawnSync(program!, [...args, "config"], { cwd: ROOT, env, encoding: "utf8" });
  assert.is(status, 0, stderr);
  const services = /^services:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? "";
  return new Map(
    services.split(/^ {2}(?=\S)/m).flatMap((text) => {
      const name = /^([\w-]+):\n/.exec(text)?.[1];
      return name === undefined ? [] : [[name, text] as const];
    }),
  );
}

if (!compose) console.log("SKIPPED reading docker-compose.yml: neither docker-compose nor docker compose is there");
else {
  test("docker-compose accepts the file: a part for each service, and what they need", () => {
    const wanted = [...SERVICES, "device-gpu", "init", "kernel", "nats", "shell"].sort();
    assert.equal([...parts().keys()].sort(), wanted);
  });

  test("no part may write to its root or has a capability; only the broker is published, to this host alone", () => {
    for (const [name, text] of parts()) {
      assert.match(text, /^ {4}read_only: true$/m, name);
      assert.match(text, /^ {4}cap_drop:\n +- ALL$/m, name);
      assert.match(text, /no-new-privileges/, name);
      assert.match(text, /^ {4}mem_limit: /m, name);
      assert.is(/^ {4}ports:/m.test(text), name === "nats", name);
    }
    assert.match(parts().get("nats")!, /127\.0\.0\.1/);
  });

  test("a service sees the credential of its own launcher and no other's; keys are the kernel's and init's alone", () => {
    for (const [name, text] of parts()) {
      if (name === "init") continue;
      const seen = [...text.matchAll(/launch-(\w+):|source: launch-(\w+)/g)].map(([, short, long]) => short ?? long);
      const own = (SERVICES as readonly string[]).filter((service) => name === service || name === `${service}-gpu`);
      assert.equal(seen, own, name);
      assert.is(/(- |source: )kernel(:|$)/m.test(text), name === "kernel", name);
    }
  });
}

if (compose) {
  const NODES = ["nats", "nats-2", "nats-3"];

  test("the cluster's file adds two brokers and a kernel, as closed as the first ones, and tells everybody of all three", () => {
    const cluster = parts("docker-compose.cluster.yml");
    const added = [...cluster.keys()].filter((name) => !parts().has(name));
    assert.equal(added.sort(), ["kernel-2", "nats-2", "nats-3"]);
    for (const name of added) {
      assert.match(cluster.get(name)!, /^ {4}read_only: true$/m, name);
      assert.match(cluster.get(name)!, /^ {4}cap_drop:\n +- ALL$/m, name);
      assert.not.match(cluster.get(name)!, /^ {4}ports:/m, name);
    }
    const url = NODES.map((node) => `nats://${node}:4222`).join(",");
    for (const [name, text] of cluster) {
      if (name !== "init" && !NODES.includes(name)) assert.ok(text.includes(`NATS_URL: ${url}`), name);
      if (NODES.includes(name)) assert.match(text, new RegExp(`- /etc/soma/${name}\\.conf`));
      const keys = /(- |source: )keys(:|$)/m.test(text);
      assert.is(keys, ["init", "kernel", "kernel-2"].includes(name), name);
    }
  });

  test("both kernels are the same but for their homes, and share keys and the person's file", () => {
    const cluster = parts("docker-compose.cluster.yml");
    const [first, second] = ["kernel", "kernel-2"].map((name) => cluster.get(name)!.split("\n").slice(1).sort());
    assert.equal(
      second!.map((line) => line.replace("kernel-2:", "kernel:")),
      first,
    );
  });
}

test("the programs that the file names are there", () => {
  for (const file of ["init.ts", "join.ts", "main.ts", "health.mjs"])
    assert.ok(existsSync(join(ROOT, "kernel/launcher", file)), file);
});

test.run();
