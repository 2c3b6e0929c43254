// A first program for whoever knows TensorFlow: a dense network, softmax cross-entropy, Adam, on random data.
import { defineApp } from "../../userland/sdk/app.ts";
import manifest from "./app.json" with { type: "json" };

defineApp({
  ...manifest,
  async main({ soma, flags, signal, print }) {
    const epochs = Number(flags.epochs ?? 1000);
    const { job } = await soma.model.train({
      name: "quickstart",
      architecture: "mlp",
      data: "random",
      config: { layers: [100, 128, 100], activation: "relu", loss: "crossEntropy" },
      // One batch holds all examples: an epoch is a step. Reports come at each `evaluateEvery`.
      hyper: { optimizer: "adam", lr: 0.001, epochs, examples: 32, batch: 32, evaluateEvery: 100 },
    });
    const stream = soma.model.follow({ job }, { signal });
    let printed = 0;
    for await (const { progress } of stream) {
      if (progress === undefined || progress.step <= printed || flags.json) continue;
      if (progress.step > 1 && progress.step % 100 > 0 && progress.step < epochs) continue;
      printed = progress.step;
      print(`epoch ${String(progress.step).padStart(5)}  loss ${progress.loss.toFixed(4)}\n`);
    }
    const end = await stream.result;
    print(flags.json ? `${JSON.stringify(end)}\n` : `${end.state}: ${end.model} ${end.error ?? ""}\n`);
  },
});
