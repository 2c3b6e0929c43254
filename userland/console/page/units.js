// Owns how figures are written: bytes, times, counts.

export function bytes(n) {
  if (!Number.isFinite(n)) return "";
  for (const unit of ["B", "KB", "MB"]) {
    if (n < 1024) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} GB`;
}

/** Of ms. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "";
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
  return ms < 86_400_000 ? `${(ms / 3_600_000).toFixed(1)} h` : `${(ms / 86_400_000).toFixed(1)} d`;
}

/** Of unix ms: the time of day. */
export const clock = (at) => new Date(at).toLocaleTimeString("en-GB");
/** Of unix ms: date and time. */
export const date = (at) => new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
export const count = (n) => (Number.isFinite(n) ? n.toLocaleString("en-US") : "");
