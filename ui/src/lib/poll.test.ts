import { expect, test } from "vitest";
import { pause } from "./poll";

test("waits grow with failures, up to four times, within a quarter", () => {
  expect(pause(1000, 0, 0)).toBe(750);
  expect(pause(1000, 0, 1)).toBe(1250);
  expect(pause(1000, 1, 0.5)).toBe(2000);
  expect(pause(1000, 99, 0.5)).toBe(4000);
});
