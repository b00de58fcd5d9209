import { expect, test } from "vitest";
import { Clock } from "./clock";

const at = Date.UTC(2026, 10, 22, 23, 58, 14, 11);

test("shows the server's time in the site's zone", () => {
  const id = new Clock(at, 1000, { offset: 420, name: "WIB" }, "id");
  expect(id.text(id.now(1000))).toBe("06.58.14 WIB");
  expect(id.text(id.now(2000))).toBe("06.58.15 WIB");
  expect(id.text(at, true)).toBe("06.58.14,011");
  expect(new Clock(at, 0, { offset: 540, name: "WIT" }, "en").text(at)).toBe("08:58:14 WIT");
  expect(id.day(at)).toBe("2026-11-23");
  expect(id.minute(at)).toBe(6 * 60 + 58);
});
