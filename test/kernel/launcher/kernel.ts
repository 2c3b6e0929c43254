// A kernel for tests: passes the launcher's reports to whoever connects to run/test.sock and that one's orders back.
import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";

const path = join(process.env.SOMA_HOME!, "run", "test.sock");
const seen: string[] = [];
const clients = new Set<Socket>();

process.on("message", (report) => {
  const line = `${JSON.stringify(report)}\n`;
  seen.push(line);
  for (const client of clients) client.write(line);
});

rmSync(path, { force: true });
createServer((client) => {
  clients.add(client);
  client.on("error", () => undefined).on("close", () => clients.delete(client));
  client.write(`${JSON.stringify({ type: "hello", pid: process.pid })}\n${seen.join("")}`);
  let text = "";
  client.on("data", (chunk) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop()!;
    for (const line of lines) process.send!(JSON.parse(line));
  });
}).listen(path);
console.log(`test kernel ${process.argv.slice(2).join(" ")}`);
