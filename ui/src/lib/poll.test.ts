import { expect, test } from "vitest";
import { inUse, pause } from "./poll";

test("waits grow with failures, up to four times, within a quarter", () => {
  expect(pause(1000, 0, 0)).toBe(750);
  expect(pause(1000, 0, 1)).toBe(1250);
  expect(pause(1000, 1, 0.5)).toBe(2000);
  expect(pause(1000, 99, 0.5)).toBe(4000);
});

test("a part is left alone while somebody is at something in it", () => {
  const button = {};
  const part = (has: unknown, ticked: boolean): HTMLElement =>
    ({ contains: (node: unknown) => node === has, querySelector: () => (ticked ? {} : null) }) as unknown as HTMLElement;
  const page = { activeElement: button };
  expect(inUse(part(button, false), page as unknown as Document)).toBe(true);
  expect(inUse(part({}, true), page as unknown as Document)).toBe(true);
  expect(inUse(part({}, false), page as unknown as Document)).toBe(false);
});
