import { expect, test } from "vitest";
import { locationOf, ring } from "./place";

test("only a fresh fix is a location", () => {
  const found = { state: "found", latitude: -6.20091234567, longitude: 106.8451, accuracy: 18.004, at: 1000 } as const;
  expect(locationOf(found, 2000)).toEqual({ latitude: -6.2009123, longitude: 106.8451, accuracy_m: 18 });
  expect(locationOf(found, 62_000)).toEqual({ location_error: "timeout" });
  expect(locationOf({ state: "failed", why: "denied" }, 0)).toEqual({ location_error: "denied" });
  expect(locationOf({ state: "seeking" }, 0)).toEqual({ location_error: "timeout" });
});

test("a poor fix is a large ring, and none leaves the picture", () => {
  expect(ring(1)).toBe(12);
  expect(ring(18)).toBeLessThan(ring(100));
  expect(ring(100)).toBeLessThan(ring(1000));
  expect(ring(1e9)).toBe(96);
});
