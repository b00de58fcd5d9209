/**
 * wait is how long to wait before another try, in milliseconds: full jitter,
 * the first one within 400 ms, later ones below a bound that doubles up to max.
 */
export function wait(failed: number, max: number, random: number): number {
  return random * Math.min(max, 400 * 2 ** Math.min(failed, 16));
}
