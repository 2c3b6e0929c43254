import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERVICES } from "../../../../kernel/abi/names.ts";
import { brokerVersion, services, skew } from "../../../../userland/shell/doctor/system.ts";

const row = (id: string, more = {}) => ({
  id,
  kind: "service" as const,
  state: "ready",
  epoch: 1,
  restarts: 0,
  uptimeMs: 1,
  ...more,
});
const all = SERVICES.map((service) => row(`${service}-1`));

test("services that lack, are ill or were restarted are named", () => {
  assert.is(services(all).state, "ok");
  const lacking = services(all.filter(({ id }) => id !== "device-1"));
  assert.equal([lacking.state, lacking.what], ["fail", "no device"]);
  const ill = services([...all, row("device-2", { state: "quarantined" })]);
  assert.equal([ill.state, ill.what], ["fail", "device-2 is quarantined"]);
  assert.is(services([...all, row("device-2", { state: "starting" })]).state, "warn");
  const back = services([...all, row("device-2", { restarts: 3 })]);
  assert.equal([back.state, back.what], ["warn", "device-2 was restarted 3 times"]);
});

test("the broker's version is judged as the launcher judges it", () => {
  assert.is(brokerVersion("nats-server 2.10.27 at 127.0.0.1:4222").state, "ok");
  assert.is(brokerVersion("nats-server 2.10.26 at 127.0.0.1:4222").state, "fail");
  assert.is(brokerVersion("nats-server 2.11.0 at 127.0.0.1:4222").state, "fail");
  assert.is(brokerVersion("nats-server unknown at 127.0.0.1:4222").state, "fail");
});

test("a clock that is off beyond what the round trip explains is told, either way", () => {
  assert.is(skew("model-1", 10_050, 10_000, 10_100).state, "ok");
  assert.is(skew("model-1", 11_050, 10_000, 10_100).state, "warn");
  assert.is(skew("model-1", 6_050, 10_000, 10_100).state, "fail");
  assert.match(skew("model-1", 6_050, 10_000, 10_100).what, "4.0s behind");
  assert.match(skew("model-1", 14_050, 10_000, 10_100).what, "4.0s ahead of");
});

test("a clock that answers between our two times is never blamed", () => {
  const at = fc.integer({ min: 0, max: 1e6 });
  fc.assert(
    fc.property(at, at, fc.double({ min: 0, max: 1, noNaN: true }), (before, took, where) => {
      assert.is(skew("x", before + where * took, before, before + took).state, "ok");
    }),
  );
});

test.run();
