// Owns what a JSON Schema means as a grammar: some of its values, and nothing that is not one. Objects have their properties in
// the order of the schema; a space may stand after "," and ":", no other blank. What is not supported is refused by its name.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { FORMATS } from "./formats.ts";
import { type Node, Nodes } from "./node.ts";
import { decimalsOf, integer, MOST_DECIMALS, number } from "./number.ts";
import { overlap } from "./overlap.ts";
import { pattern } from "./pattern.ts";
import { anyCharacter, literal, otherThan } from "./text.ts";

export type Schema = Record<string, unknown>;
export interface Compiled {
  nodes: Nodes;
  start: Node;
}

/** Keywords that say nothing of the value. */
const NOTES = new Set(
  "title description default examples example deprecated readOnly writeOnly $schema $id $comment $defs definitions".split(
    " ",
  ),
);
/** Keywords that decide alone: only these and notes may stand beside them. */
const ALONE: Readonly<Record<string, readonly string[]>> = {
  ...{ $ref: ["nullable"], anyOf: ["nullable"], oneOf: ["nullable"], allOf: ["nullable"] },
  ...{ enum: ["type", "nullable"], const: ["type", "nullable"] },
};
const OF_TYPES = new Set(
  (
    "type nullable properties required additionalProperties items prefixItems minItems maxItems minLength maxLength " +
    "pattern format minimum maximum exclusiveMinimum exclusiveMaximum"
  ).split(" "),
);
const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];
/** Limits that keep compiling short. */
const MOST = { bytes: 65_536, depth: 128, refs: 256, properties: 512, name: 256 };

/** EINVAL: what is not supported, and where; a schema that no finite value satisfies. */
export function compile(schema: unknown): Compiled {
  if (Buffer.byteLength(JSON.stringify(schema)) > MOST.bytes)
    throw new SomaError("EINVAL", `the schema is over ${MOST.bytes} bytes: send a smaller one`);
  // Nodes know their sizes from the start, those of names come by rounds: each finds at least one more, or changes none.
  let sizes = new Map<string, number>();
  for (;;) {
    const compiler = new Compiler(schema, sizes);
    const start = compiler.start();
    const found = compiler.sizes();
    if (found.size === sizes.size && [...found].every(([name, size]) => sizes.get(name) === size)) {
      if (start === compiler.nodes.never) throw new SomaError("EINVAL", "no finite value satisfies the schema");
      return { nodes: compiler.nodes, start };
    }
    sizes = found;
  }
}

class Compiler {
  readonly nodes: Nodes;
  private readonly bodies = new Map<string, Node>();
  private readonly gap: Node;
  private depth = 0;

  constructor(
    private readonly root: unknown,
    sizes: ReadonlyMap<string, number>,
  ) {
    this.nodes = new Nodes(sizes);
    this.gap = this.nodes.optional(this.nodes.text(" "));
  }

  start(): Node {
    return this.value(this.root, "#", []);
  }

  /** Of all names that can be completed. */
  sizes(): Map<string, number> {
    const sizes = [...this.bodies].map(([name, { size }]) => [name, size] as const);
    return new Map(sizes.filter(([, size]) => size < Number.POSITIVE_INFINITY));
  }

  /** `path` is where it stands; `within` the names that it was reached by without a byte between. */
  private value(schema: unknown, path: string, within: readonly string[]): Node {
    if (schema === true) return this.any();
    if (schema === false) return this.nodes.never;
    if (typeof schema !== "object" || schema === null || Array.isArray(schema))
      throw refuse(path, "a schema is an object, true or false");
    if (++this.depth > MOST.depth) throw refuse(path, `it is nested deeper than ${MOST.depth}`);
    const node = this.object(schema as Schema, path, within);
    this.depth -= 1;
    return (schema as Schema).nullable === true ? this.nodes.alt(node, this.nodes.text("null")) : node;
  }

  private object(schema: Schema, path: string, within: readonly string[]): Node {
    const keys = Object.keys(schema).filter((key) => !NOTES.has(key));
    const alone = keys.find((key) => Object.hasOwn(ALONE, key));
    if (alone !== undefined) {
      const beside = keys.find((key) => key !== alone && !ALONE[alone]!.includes(key));
      if (beside !== undefined) throw refuse(path, `"${beside}" beside "${alone}" is not supported`);
      return this.alone(alone, schema, path, within);
    }
    const unknown = keys.find((key) => !OF_TYPES.has(key));
    if (unknown !== undefined) throw refuse(path, `the keyword "${unknown}" is not supported`);
    const types = typesOf(schema, path);
    return types === undefined ? this.any() : this.nodes.alt(...types.map((type) => this.typed(type, schema, path)));
  }

  private alone(key: string, schema: Schema, path: string, within: readonly string[]): Node {
    const { nodes } = this;
    if (key === "$ref") return this.named(String(schema.$ref), path, within);
    if (key === "const" || key === "enum") {
      const types = schema.type === undefined ? undefined : typesOf(schema, path);
      const values = key === "const" ? [schema.const] : listOf(schema, "enum", path);
      return nodes.alt(...values.filter((value) => hasType(value, types)).map((value) => this.constant(value)));
    }
    const branches = listOf(schema, key, path);
    if (key === "allOf" && branches.length > 1) throw refuse(path, '"allOf" of several schemas is not supported');
    if (key === "oneOf" && overlap(branches, (ref) => this.find(ref, path)))
      throw refuse(path, '"oneOf" of schemas that one value might satisfy at once is not supported: use "anyOf"');
    return nodes.alt(...branches.map((branch, i) => this.value(branch, `${path}/${key}/${i}`, within)));
  }

  private named(ref: string, path: string, within: readonly string[]): Node {
    if (within.includes(ref)) throw refuse(path, `"$ref" ${ref} leads back to itself`);
    const target = this.find(ref, path);
    const name = `ref ${ref}`;
    if (!this.bodies.has(name)) {
      if (this.bodies.size > MOST.refs) throw refuse(path, `it has more than ${MOST.refs} references`);
      this.bodies.set(name, this.nodes.never);
      this.define(name, this.value(target, ref, [...within, ref]));
    } else this.straight(target, ref, [...within, ref]);
    return this.nodes.ref(name);
  }

  /** A body that was compiled elsewhere: from here it must not lead back without a byte either. */
  private straight(schema: unknown, path: string, within: readonly string[]): void {
    if (typeof schema !== "object" || schema === null) return;
    const { $ref, ...others } = schema as Schema;
    if (typeof $ref === "string") {
      if (within.includes($ref)) throw refuse(path, `"$ref" ${$ref} leads back to itself`);
      this.straight(this.find($ref, path), $ref, [...within, $ref]);
    }
    for (const key of ["anyOf", "oneOf", "allOf"])
      for (const branch of Array.isArray(others[key]) ? others[key] : []) this.straight(branch, path, within);
  }

  private define(name: string, body: Node): void {
    this.bodies.set(name, body);
    this.nodes.define(name, body);
  }

  private find(ref: string, path: string): unknown {
    if (!/^#(\/|$)/.test(ref)) throw refuse(path, `"$ref" ${ref} is not within the schema`);
    let found: unknown = this.root;
    for (const part of ref.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      found =
        typeof found === "object" && found !== null && Object.hasOwn(found, key) ? (found as Schema)[key] : undefined;
    }
    if (found === undefined) throw refuse(path, `"$ref" ${ref} leads nowhere`);
    return found;
  }

  private typed(type: string, schema: Schema, path: string): Node {
    const { nodes } = this;
    if (type === "null") return nodes.text("null");
    if (type === "boolean") return nodes.alt(nodes.text("true"), nodes.text("false"));
    if (type === "object") return this.record(schema, path);
    if (type === "array") return this.list(schema, path);
    if (type === "string") return this.text(schema, path);
    const bounds = boundsOf(schema, path);
    return type === "integer" ? integer(nodes, bounds) : number(nodes, bounds);
  }

  private text(schema: Schema, path: string): Node {
    const { nodes } = this;
    const [least, most] = [wholeOf(schema, "minLength", path) ?? 0, wholeOf(schema, "maxLength", path)];
    const shape = patternOf(schema, path);
    if (shape === undefined) return this.quoted(nodes.repeat(anyCharacter(nodes), least, most));
    if (least > 0 || most !== undefined)
      throw refuse(
        path,
        '"minLength" and "maxLength" beside "pattern" or "format" are not supported: say it in the pattern',
      );
    return this.quoted(pattern(nodes, shape));
  }

  private list(schema: Schema, path: string): Node {
    const { nodes } = this;
    const first = schema.prefixItems === undefined ? [] : listOf(schema, "prefixItems", path);
    const rest = schema.items === undefined ? true : schema.items;
    const heads = first.map((item, i) => this.value(item, `${path}/prefixItems/${i}`, []));
    const least = wholeOf(schema, "minItems", path) ?? 0;
    const most = Math.min(
      wholeOf(schema, "maxItems", path) ?? Number.POSITIVE_INFINITY,
      // A tuple that does not say what else may come has nothing else.
      first.length > 0 && schema.items === undefined ? first.length : Number.POSITIVE_INFINITY,
    );
    const item = most > heads.length ? this.value(rest, `${path}/items`, []) : nodes.never;
    const comma = this.comma();
    // What may follow so many items as there are heads, then fewer.
    const from = Math.max(1, heads.length);
    const further = item === nodes.never ? 0 : Math.max(0, most - from);
    let more = nodes.repeat(nodes.seq(comma, item), Math.max(0, least - from), further);
    for (let i = heads.length - 1; i > 0; i--) {
      const on = i < most ? nodes.seq(comma, heads[i]!, more) : nodes.never;
      more = i >= least ? nodes.optional(on) : on;
    }
    const some = most === 0 ? nodes.never : nodes.seq(heads[0] ?? item, more);
    return nodes.seq(nodes.text("["), least > 0 ? some : nodes.optional(some), nodes.text("]"));
  }

  private record(schema: Schema, path: string): Node {
    const { nodes } = this;
    const properties = recordOf(schema, "properties", path);
    const required = new Set(schema.required === undefined ? [] : listOf(schema, "required", path).map(String));
    const other = schema.additionalProperties;
    const undeclared = [...required].filter((key) => !Object.hasOwn(properties, key));
    const entries = [...Object.entries(properties), ...undeclared.map((key) => [key, other ?? true] as const)];
    const members = entries.map(([key, value]) => ({
      pair: this.member(literal(nodes, key), this.value(value, `${path}/properties/${key}`, [])),
      must: required.has(key),
    }));
    if (entries.length > MOST.properties) throw refuse(path, `it has more than ${MOST.properties} properties`);
    if (entries.some(([key]) => key.length > MOST.name)) throw refuse(path, `a name is longer than ${MOST.name}`);
    // Others come last; unasked only where nothing is declared, for a value that is never wrong.
    const open = other === undefined ? entries.length === 0 : other !== false;
    const key = otherThan(
      nodes,
      entries.map(([name]) => name),
    );
    const extra = open ? this.member(key, this.value(other ?? true, `${path}/additionalProperties`, [])) : nodes.never;
    const comma = this.comma();
    const followed = (pair: Node, i: number) => nodes.seq(pair, rests[i]!.after);
    // What may come from the i-th property on: `first` if none came before it, `after` if some did.
    const rests: { first: Node; after: Node }[] = Array.from({ length: members.length + 1 });
    const extras = nodes.repeat(nodes.seq(comma, extra));
    rests[members.length] = { first: nodes.optional(nodes.seq(extra, extras)), after: extras };
    for (let i = members.length - 1; i >= 0; i--) {
      const { pair, must } = members[i]!;
      const [first, after] = [followed(pair, i + 1), nodes.seq(comma, followed(pair, i + 1))];
      const skip = rests[i + 1]!;
      rests[i] = must ? { first, after } : { first: nodes.alt(first, skip.first), after: nodes.alt(after, skip.after) };
    }
    return nodes.seq(nodes.text("{"), rests[0]!.first, nodes.text("}"));
  }

  private any(): Node {
    const { nodes } = this;
    if (!this.bodies.has("any")) {
      this.bodies.set("any", nodes.never);
      this.define("any", nodes.alt(...TYPES.map((type) => this.typed(type, {}, "any"))));
    }
    return nodes.ref("any");
  }

  private constant(value: unknown): Node {
    return this.nodes.text(JSON.stringify(value));
  }

  private member(key: Node, value: Node): Node {
    return this.nodes.seq(this.quoted(key), this.nodes.text(":"), this.gap, value);
  }

  private quoted(content: Node): Node {
    const quote = this.nodes.text('"');
    return this.nodes.seq(quote, content, quote);
  }

  private comma(): Node {
    return this.nodes.seq(this.nodes.text(","), this.gap);
  }
}

function refuse(path: string, what: string): SomaError {
  return new SomaError("EINVAL", `the schema at ${path}: ${what}`);
}

/** Undefined: nothing says what type it has. */
function typesOf(schema: Schema, path: string): string[] | undefined {
  if (schema.type !== undefined) {
    const types = [schema.type].flat();
    const wrong = types.find((type) => !TYPES.includes(type as string));
    if (wrong !== undefined || types.length === 0) throw refuse(path, `"type" is one or some of ${TYPES.join(", ")}`);
    return types as string[];
  }
  const has = (...keys: string[]) => keys.some((key) => schema[key] !== undefined);
  if (has("properties", "required", "additionalProperties")) return ["object"];
  if (has("items", "prefixItems", "minItems", "maxItems")) return ["array"];
  if (has("minLength", "maxLength", "pattern", "format")) return ["string"];
  return has("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") ? ["number"] : undefined;
}

function hasType(value: unknown, types: readonly string[] | undefined): boolean {
  if (types === undefined) return true;
  if (value === null) return types.includes("null");
  if (Array.isArray(value)) return types.includes("array");
  if (typeof value === "number" && Number.isInteger(value) && types.includes("integer")) return true;
  return types.includes(typeof value);
}

function listOf(schema: Schema, key: string, path: string): unknown[] {
  const list = schema[key];
  if (!Array.isArray(list)) throw refuse(path, `"${key}" is a list`);
  return list;
}

function recordOf(schema: Schema, key: string, path: string): Schema {
  const record = schema[key] ?? {};
  if (typeof record !== "object" || Array.isArray(record)) throw refuse(path, `"${key}" is an object`);
  return record as Schema;
}

function wholeOf(schema: Schema, key: string, path: string): number | undefined {
  const value = schema[key];
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0))
    return value as number | undefined;
  throw refuse(path, `"${key}" is a whole number`);
}

function boundsOf(schema: Schema, path: string) {
  const bound = (key: string) => {
    const value = schema[key];
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value)) throw refuse(path, `"${key}" is a number`);
    if (decimalsOf(value) > MOST_DECIMALS) throw refuse(path, `"${key}" has more than ${MOST_DECIMALS} decimals`);
    return value;
  };
  const [least, most, over, under] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map(bound);
  const above = over !== undefined && (least === undefined || over >= least);
  const below = under !== undefined && (most === undefined || under <= most);
  return { least: above ? over : least, most: below ? under : most, above, below };
}

function patternOf(schema: Schema, path: string): string | undefined {
  const { pattern: shape, format } = schema;
  if (shape !== undefined && format !== undefined) throw refuse(path, '"pattern" beside "format" is not supported');
  if (shape !== undefined && typeof shape !== "string") throw refuse(path, '"pattern" is a text');
  if (format === undefined) return shape as string | undefined;
  if (Object.hasOwn(FORMATS, String(format))) return FORMATS[String(format)];
  throw refuse(path, `the format "${format}" is not supported: use one of ${Object.keys(FORMATS).join(", ")}`);
}
