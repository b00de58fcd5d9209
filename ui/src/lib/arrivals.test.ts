import { expect, test } from "vitest";
import { Arrivals } from "./arrivals";

const event = (seq: number, type: string, minute = 415, kind = "in") => ({
  seq,
  type,
  node_id: "n1",
  user_id: 7,
  data: { type: kind, timestamp: "2026-11-22T23:58:14.011Z", minute },
});

test("counts what was decided, by minute and kind", () => {
  const a = new Arrivals([[415, 2]], 1, 0, 50);
  a.take(event(1, "attendance.accepted"));
  a.take(event(2, "attendance.accepted", 418));
  a.take(event(3, "attendance.accepted", 419, "out"));
  a.take(event(4, "attendance.duplicate"));
  a.take(event(5, "attendance.review"));
  a.take(event(6, "user.created"));
  expect(a.series()).toEqual([[415, 416, 417, 418], [3, 0, 0, 1]]);
  expect(a.peak()).toEqual({ minute: 415, count: 3 });
  expect([a.duplicates, a.reviews]).toEqual([2, 1]);
  expect(a.drain().map((row) => row.id)).toEqual([1, 2, 3]);
  expect(a.drain()).toEqual([]);
});

test("what waits is bounded, and counted", () => {
  const a = new Arrivals([], 0, 0, 3);
  for (let seq = 1; seq <= 10; seq++) a.take(event(seq, "attendance.accepted"));
  expect(a.waiting).toBe(10);
  expect(a.drain().map((row) => row.id)).toEqual([8, 9, 10]);
  expect(new Arrivals([], 0, 0, 1).peak()).toBeUndefined();
  expect(new Arrivals([], 0, 0, 1).series()).toEqual([[], []]);
});
