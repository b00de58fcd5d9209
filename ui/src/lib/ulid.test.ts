import { expect, test } from "vitest";
import { ulid } from "./ulid";

test("keys are ULIDs, sort by time and differ", () => {
  expect(ulid(0, (b) => b)).toBe("0".repeat(26));
  expect(ulid(2 ** 48 - 1, (b) => b.fill(255))).toBe("7ZZZZZZZZZ" + "Z".repeat(16));
  const now = Date.UTC(2026, 10, 23);
  expect(ulid(now) < ulid(now + 1)).toBe(true);
  expect(new Set(Array.from({ length: 1000 }, () => ulid(now))).size).toBe(1000);
  expect(ulid(now)).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
});
