// Owns which versions of nats-server are good enough for this contract.

/** Older ones let a user purge other accounts' streams, among others (CVE-2025-30215). */
export const MINIMUM = "2.10.27";
/** At or above MINIMUM and still with that hole. */
const BROKEN = new Set(["2.11.0"]);

/** Numeric order; a pre-release comes before its release. */
export function compareVersions(a: string, b: string): number {
  const parts = (version: string) => version.split("-")[0]!.split(".").map(Number);
  const [x, y] = [parts(a), parts(b)];
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return (x[i] ?? 0) - (y[i] ?? 0);
  return Number(b.includes("-")) - Number(a.includes("-"));
}

export function isGoodEnough(version: string): boolean {
  return compareVersions(version, MINIMUM) >= 0 && !BROKEN.has(version);
}
