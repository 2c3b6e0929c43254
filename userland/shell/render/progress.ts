// Owns the picture of long work: a bar with figures and time left; plain lines where there is no terminal.
import cliProgress from "cli-progress";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { bytes, duration } from "./units.ts";

type Progress = NonNullable<Output<"model.job">["progress"]>;

/** Shows training progress; call `update` with each report, `stop` at the end. */
export function trainingBar(out: NodeJS.WriteStream = process.stderr): {
  update(progress: Progress): void;
  stop(): void;
} {
  if (!out.isTTY) return lines(out);
  const bar = new cliProgress.SingleBar(
    {
      format: "  {bar} {percentage}%  loss {loss}  {speed} tok/s  {left} left",
      barsize: 28,
      hideCursor: true,
      clearOnComplete: false,
      stream: out,
    },
    cliProgress.Presets.shades_classic,
  );
  let started = false;
  return {
    update(progress) {
      if (!started) bar.start(progress.steps, progress.step, fields(progress));
      started = true;
      bar.update(progress.step, fields(progress));
    },
    stop: () => bar.stop(),
  };
}

function fields(progress: Progress): Record<string, string> {
  return {
    loss: progress.loss.toFixed(4),
    speed: Math.round(progress.tokensPerSecond).toString(),
    left: duration(progress.etaMs),
  };
}

/** A line for each tenth. */
function lines(out: NodeJS.WriteStream) {
  let tenth = -1;
  return {
    update(progress: Progress) {
      const now = Math.floor((10 * progress.step) / Math.max(1, progress.steps));
      if (now === tenth) return;
      tenth = now;
      const { loss, speed, left } = fields(progress);
      out.write(`  step ${progress.step}/${progress.steps}  loss ${loss}  ${speed} tok/s  ${left} left\n`);
    },
    stop() {},
  };
}

/** Shows how much of several files has come. The total grows while it becomes known what there is. */
export function transferBar(out: NodeJS.WriteStream = process.stderr) {
  const bar = out.isTTY
    ? new cliProgress.SingleBar(
        { format: "  {bar} {percentage}%  {of}  {file}", barsize: 28, hideCursor: true, stream: out },
        cliProgress.Presets.shades_classic,
      )
    : undefined;
  let tenth = -1;
  bar?.start(1, 0, { of: "", file: "" });
  return {
    update({ file, done, total }: { file: string; done: number; total: number }) {
      const of = `${bytes(done)} of ${bytes(total)}`;
      bar?.setTotal(total);
      bar?.update(done, { of, file });
      const now = Math.floor((10 * done) / Math.max(1, total));
      if (!bar && now !== tenth) out.write(`  ${of}  ${file}\n`);
      tenth = now;
    },
    stop: () => bar?.stop(),
  };
}
