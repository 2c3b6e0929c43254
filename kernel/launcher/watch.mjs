// Owns the end of a forked child whose launcher is gone: loaded into it where the system offers no pdeathsig.
import { Socket } from "node:net";
import { Worker } from "node:worker_threads";

// fd 4 is TETHER_FD of tether.ts.
const watch = `
  const pipe = new (require("node:net").Socket)({ fd: 4 });
  pipe.on("close", () => process.kill(process.pid, "SIGKILL")).on("error", () => {}).resume();
`;
// Its own thread, so that a child busy in its main thread dies too. An app may start none (confine.ts): it dies when next idle.
if (process.permission?.has("worker") ?? true)
  new Worker(watch, { eval: true, execArgv: [], stdout: false, stderr: false }).unref();
else {
  const pipe = new Socket({ fd: 4 });
  pipe.on("close", () => process.kill(process.pid, "SIGKILL")).on("error", () => {});
  pipe.resume().unref();
}
