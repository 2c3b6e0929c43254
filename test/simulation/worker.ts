// Owns a worker of `npm run sim`: runs the seeds that it is given, one after the other.
import { runSeed } from "./seed.ts";

process.on("message", ({ seed, mutant }: { seed: number; mutant?: string }) => {
  void runSeed(seed, undefined, mutant).then((outcome) => process.send!(outcome));
});
process.send!("ready");
