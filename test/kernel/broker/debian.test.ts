import { test } from "uvu";
import * as assert from "uvu/assert";
import { aptSource } from "../../../kernel/broker/debian.ts";

const STANZAS = `Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main

Types: deb
# a remark
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg
`;

test("the mirror and its key are read from deb822 stanzas, not from the security archive's", () => {
  assert.equal(aptSource("debian", [STANZAS]), { mirror: "http://mirror.test/debian", signedBy: "/keys/debian.gpg" });
});

test("the mirror is read from one-line sources, with and without options", () => {
  const other = "# deb http://no.test/debian x main\ndeb https://packages.test/apt tool main\n";
  assert.equal(aptSource("debian", [other, "deb http://m.test/debian bookworm main\n"]), {
    mirror: "http://m.test/debian",
    signedBy: undefined,
  });
  const line = "deb [arch=amd64 signed-by=/keys/u.gpg] http://m.test/ubuntu/ noble universe\n";
  assert.equal(aptSource("ubuntu", [line]), { mirror: "http://m.test/ubuntu/", signedBy: "/keys/u.gpg" });
});

test("sources of others alone name no mirror", () => {
  assert.is(aptSource("debian", ["deb https://packages.test/apt tool main\n"]), undefined);
});

test.run();
