// Owns how quantities read: bytes, durations, times.

/** 1.5 GB; powers of 1024. */
export function bytes(n: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  // What would be shown as 1024 is one of the next unit.
  while (n >= (i === 0 ? 1024 : 1023.5) && i < units.length - 1) {
    n /= 1024;
    i += 1;
  }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** 3d4h, 2h05m, 4m12s, 8.3s, 120ms. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "?";
  if (ms < 999.5) return `${Math.round(ms)}ms`;
  let s = ms / 1000;
  if (s < 59.95) return `${s.toFixed(1)}s`;
  s = Math.round(s);
  const pad = (n: number) => String(Math.floor(n)).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}m${pad(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${pad((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86400)}d${Math.floor((s % 86400) / 3600)}h`;
}

/** 24-hour local time with seconds. */
export function clock(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
