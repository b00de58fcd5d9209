import { expect, test } from "vitest";
import { Words } from "./words";

test("one is another word than many, where the catalogue has it", () => {
  const words = new Words('{"tap.left":"{0} taps","tap.left.one":"a tap","tap.all":"{0} of {1}"}');
  expect(words.count("tap.left", 1, 1)).toBe("a tap");
  expect(words.count("tap.left", 0, 0)).toBe("0 taps");
  expect(words.count("tap.left", 1234, "1,234")).toBe("1,234 taps");
  expect(words.count("tap.all", 1, 1, 3)).toBe("1 of 3");
  expect(() => words.say("tap.none")).toThrow();
});
