// Owns curves over a number or over time, drawn by uPlot in the colours of the scheme.
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

const COLORS = ["--a", "--b", "--c", "--d", "--e", "--f"];
const dark = matchMedia("(prefers-color-scheme: dark)");

/** `lines`: names, one for each of `data` after its first row, which is x. `time`: x is in unix seconds. */
export function Plot({ label, lines, data, time = false }) {
  const place = useRef(null);
  const plot = useRef(undefined);
  const newest = useRef(data);
  newest.current = data;
  const shape = lines.join("\n");
  useEffect(() => {
    const names = shape === "" ? [] : shape.split("\n");
    // The reference is gone before this effect ends.
    const element = place.current;
    const make = () => {
      const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
      const axis = { stroke: color("--dim"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
      plot.current?.destroy();
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: 220,
          scales: { x: { time } },
          axes: [axis, { ...axis, size: 60 }],
          series: [
            {},
            ...names.map((name, i) => ({
              label: name,
              stroke: color(COLORS[i % COLORS.length]),
              width: 2,
              spanGaps: true,
            })),
          ],
        },
        newest.current,
        element,
      );
    };
    make();
    const resized = new ResizeObserver(() => plot.current.setSize({ width: element.clientWidth, height: 220 }));
    resized.observe(element);
    dark.addEventListener("change", make);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", make);
      plot.current.destroy();
      plot.current = undefined;
    };
  }, [shape, time]);
  useEffect(() => {
    plot.current.setData(data);
  }, [data]);
  const last = lines.map((name, i) => `${name} ${data[i + 1]?.findLast((y) => y != null)?.toFixed(3) ?? "none"}`);
  return html`<div class="plot" role="img" aria-label="${label}: ${last.join(", ")}"><div ref=${place}></div></div>`;
}

/** [step, loss, validation loss] of a training. */
export function LossPlot({ curve, label }) {
  const data = [
    curve.map(({ step }) => step),
    curve.map(({ loss }) => loss),
    curve.map(({ validationLoss }) => validationLoss ?? null),
  ];
  return html`<${Plot} label=${label} lines=${["loss", "validation loss"]} data=${data} />`;
}
