// The part of asciichart that we use; the package ships no types.
declare module "asciichart" {
  const asciichart: { plot(series: number[], options?: { height?: number }): string };
  export default asciichart;
}
