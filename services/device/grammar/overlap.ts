// Owns whether a value might satisfy two schemas at once, as far as can be seen without trying: what cannot be ruled out might.

type Schema = Record<string, unknown>;

/** `find` resolves a reference. */
export function overlap(branches: readonly unknown[], find: (ref: string) => unknown): boolean {
  const resolved = branches.map((branch) => {
    let found = branch;
    // Longer chains of nothing but references are not followed: such a branch might be anything.
    for (let i = 0; i < 16 && typeof (found as Schema)?.$ref === "string"; i++)
      found = find((found as Schema).$ref as string);
    return found as Schema;
  });
  return resolved.some((one, i) => resolved.slice(0, i).some((other) => !apart(one, other)));
}

function apart(one: Schema, other: Schema): boolean {
  const [values, others] = [valuesOf(one), valuesOf(other)];
  if (values && others) return !values.some((value) => others.includes(value));
  const [types, otherTypes] = [typesOf(one), typesOf(other)];
  if (types === undefined || otherTypes === undefined) return false;
  const common = types.filter((type) => otherTypes.includes(type));
  if (common.length === 0) return true;
  return common.every((type) => type === "object") && tagged(one, other);
}

/** A property that both require, with values that differ. */
function tagged(one: Schema, other: Schema): boolean {
  const required = (schema: Schema) => (Array.isArray(schema.required) ? schema.required.map(String) : []);
  const value = (schema: Schema, key: string) => valuesOf((schema.properties as Schema | undefined)?.[key]);
  return required(one).some((key) => {
    const [values, others] = [value(one, key), value(other, key)];
    return required(other).includes(key) && values && others && !values.some((text) => others.includes(text));
  });
}

/** The values that alone it may have, as texts; undefined also where they are no plain ones. */
function valuesOf(schema: unknown): string[] | undefined {
  if (typeof schema !== "object" || schema === null || (schema as Schema).nullable) return undefined;
  const { const: value, enum: list } = schema as Schema;
  const values = value !== undefined ? [value] : Array.isArray(list) ? list : [{}];
  return values.some((one) => typeof one === "object" && one !== null)
    ? undefined
    : values.map((one) => JSON.stringify(one));
}

/** The types that alone it may have; an integer is a number. */
function typesOf(schema: unknown): string[] | undefined {
  if (typeof schema !== "object" || schema === null) return undefined;
  const { type, nullable } = schema as Schema;
  const typeOfValue = (text: string) => {
    const value: unknown = JSON.parse(text);
    return value === null ? "null" : typeof value;
  };
  const types = type === undefined ? valuesOf(schema)?.map(typeOfValue) : ([type].flat() as string[]);
  return types?.map((one) => (one === "integer" ? "number" : one)).concat(nullable ? ["null"] : []);
}
