import { expect, test } from "vitest";
import { wait } from "./backoff";

test("the first wait is within 400 ms, and none is longer than the bound", () => {
  expect(wait(0, 2000, 1)).toBe(400);
  expect(wait(0, 2000, 0)).toBe(0);
  expect(wait(1, 2000, 0.5)).toBe(400);
  for (let failed = 0; failed < 100; failed++) expect(wait(failed, 2000, 1)).toBeLessThanOrEqual(2000);
});
