import fc from "fast-check";
import nkeys from "nkeys.js";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createKey, keyFromSeed, publicKeyKind, verifySignature } from "../../../kernel/ipc/nkey.ts";

const KINDS = ["operator", "account", "user"] as const;
const REFERENCE = { operator: nkeys.createOperator, account: nkeys.createAccount, user: nkeys.createUser };

for (const kind of KINDS) {
  test(`an ${kind}'s key reads the same here and in the reference implementation`, () => {
    const ours = createKey(kind);
    const theirs = nkeys.fromSeed(new TextEncoder().encode(ours.seed));
    assert.is(theirs.getPublicKey(), ours.publicKey);
    const reference = REFERENCE[kind]();
    const back = keyFromSeed(new TextDecoder().decode(reference.getSeed()));
    assert.is(back.publicKey, reference.getPublicKey());
    assert.is(back.kind, kind);
    assert.is(publicKeyKind(ours.publicKey), kind);
  });
}

test("signatures are good in both implementations, for any bytes, and for no others", () => {
  const ours = createKey("user");
  const theirs = nkeys.fromPublic(ours.publicKey);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
      const signature = ours.sign(bytes);
      const changed = Uint8Array.from(bytes);
      changed[0]! ^= 1;
      return (
        theirs.verify(bytes, signature) &&
        verifySignature(ours.publicKey, bytes, signature) &&
        !verifySignature(ours.publicKey, changed, signature)
      );
    }),
    { numRuns: 50 },
  );
});

test("one wrong letter anywhere in a seed or a public key is noticed", () => {
  const { seed, publicKey } = createKey("account");
  const spoil = (text: string, at: number) => text.slice(0, at) + (text[at] === "Q" ? "R" : "Q") + text.slice(at + 1);
  for (let at = 0; at < seed.length; at++) assert.throws(() => keyFromSeed(spoil(seed, at)), /not a|not an/);
  for (let at = 0; at < publicKey.length; at++)
    assert.throws(() => publicKeyKind(spoil(publicKey, at)), /not a|not an/);
});

test("a public key is no seed, a seed no public key, and prose is neither", () => {
  const { seed, publicKey } = createKey("user");
  assert.throws(() => keyFromSeed(publicKey), /not an nkey/);
  assert.throws(() => publicKeyKind(seed), /not an nkey/);
  assert.throws(() => keyFromSeed("hello"), /not an nkey/);
});

test.run();
