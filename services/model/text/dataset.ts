// Owns the bytes in which tokenised examples go to the device: a safetensors file with arrays for each split.
// The device reads it by the same layout (its own copy: services share formats, not code).

/** `prompt` counts the first ids, which are given and not learned. `weight`: how often it is drawn, relative to others. */
export interface TokenExample {
  ids: readonly number[];
  prompt: number;
  weight: number;
}

/** `<split>.ids`, `.starts`, `.prompts`, `.weights`; example e has ids[starts[e]] .. ids[starts[e + 1] - 1]. */
export function encodeDataset(splits: Readonly<Record<string, readonly TokenExample[]>>): Uint8Array {
  const arrays = Object.entries(splits).flatMap(([split, examples]): [string, Int32Array | Float32Array][] => {
    const starts = new Int32Array(examples.length + 1);
    examples.forEach(({ ids }, e) => {
      starts[e + 1] = starts[e]! + ids.length;
    });
    return [
      [`${split}.ids`, Int32Array.from(examples.flatMap(({ ids }) => ids))],
      [`${split}.starts`, starts],
      [`${split}.prompts`, Int32Array.from(examples, ({ prompt }) => prompt)],
      [`${split}.weights`, Float32Array.from(examples, ({ weight }) => weight)],
    ];
  });
  const header: Record<string, unknown> = { __metadata__: { format: "soma.dataset", kind: "tokens" } };
  let offset = 0;
  for (const [name, array] of arrays) {
    const dtype = array instanceof Int32Array ? "I32" : "F32";
    header[name] = { dtype, shape: [array.length], data_offsets: [offset, offset + array.byteLength] };
    offset += array.byteLength;
  }
  // The header is padded with spaces so that the arrays begin at a multiple of 8.
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(text.length + ((8 - (Buffer.byteLength(text) % 8)) % 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const bytes = arrays.map(([, array]) => Buffer.from(array.buffer, array.byteOffset, array.byteLength));
  return new Uint8Array(Buffer.concat([length, json, ...bytes]));
}
