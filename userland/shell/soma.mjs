#!/usr/bin/env node
// The `soma` command: has Node read TypeScript, then runs the shell.
import { register } from "tsx/esm/api";

register();
await import("./main.ts");
