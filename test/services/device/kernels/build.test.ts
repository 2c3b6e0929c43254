// The committed kernel binaries come from the committed source, and fit the memories they are made for.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildKernels, missingCompiler } from "../../../../services/device/kernels/build.ts";
import { builds } from "../../../../services/device/kernels/builds.ts";
import { loadKernels, stackBytes } from "../../../../services/device/kernels/load.ts";

const committed = (file: string) =>
  readFileSync(new URL(`../../../../services/device/kernels/${file}`, import.meta.url));

const missing = missingCompiler();
if (missing) console.log(`SKIPPED comparing the kernels with their source: ${missing}`);
else {
  test("compiling the source again gives the committed bytes", () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "soma-kernels-"));
    try {
      for (const built of buildKernels(folder)) {
        assert.ok(
          readFileSync(built).equals(committed(path.basename(built))),
          `${path.basename(built)}: run npm run kernels`,
        );
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

const memories = {
  plain: () => new WebAssembly.Memory({ initial: 64 }),
  shared: () => new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true }),
};

for (const [kind, memory] of Object.entries(memories)) {
  test(`a ${kind} memory gets kernels with a stack where the caller says`, () => {
    // Above where the linker would have put it.
    const stack = 5 * stackBytes;
    const m = memory();
    const bytes = new Uint8Array(m.buffer).fill(7);
    loadKernels(m, stack, { relaxed: false }).call.madd_is_fused!();
    const touched = bytes.findIndex((byte) => byte !== 7);
    assert.ok(touched >= stack && touched < stack + stackBytes, `byte ${touched} was written`);
  });
}

test("the id of the arithmetic differs between builds and is the same for the same build", () => {
  const [a, b] = [false, false].map((relaxed) => loadKernels(memories.plain(), 0, { relaxed }));
  assert.is(a!.numerics, b!.numerics);
  assert.is(a!.relaxed, false);
  const relaxed = loadKernels(memories.plain(), 0);
  if (relaxed.relaxed) assert.is.not(relaxed.numerics, a!.numerics);
  else console.log("SKIPPED the relaxed build: this engine has no relaxed SIMD");
});

test("every build is an import of memory and nothing else", () => {
  for (const { file, relaxed } of builds) {
    const bytes = committed(file);
    if (relaxed && !WebAssembly.validate(bytes)) continue;
    assert.equal(WebAssembly.Module.imports(new WebAssembly.Module(bytes)), [
      { module: "env", name: "memory", kind: "memory" },
    ]);
  }
});

test.run();
