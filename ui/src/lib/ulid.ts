const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** ulid makes an idempotency key: 48 bits of time in milliseconds, then 80 random bits. */
export function ulid(now: number, random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array = (b) => crypto.getRandomValues(b)): string {
  let time = "";
  for (let i = 0, rest = Math.max(0, Math.floor(now)); i < 10; i++) {
    time = alphabet.charAt(rest % 32) + time;
    rest = Math.floor(rest / 32);
  }
  // Sixteen letters of five bits each: the low five bits of sixteen bytes.
  return time + Array.from(random(new Uint8Array(16)), (byte) => alphabet.charAt(byte & 31)).join("");
}
