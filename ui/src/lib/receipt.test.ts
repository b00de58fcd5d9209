import { expect, test } from "vitest";
import type { Tap } from "./outbox";
import { lookOf, steps } from "./receipt";

const base: Tap = { key: "k", owner: 1, body: { type: "in", client_time: "" }, madeAt: 0, tries: 1, state: "waiting", status: 0 };
const say = (key: string, ...values: Array<string | number>) => [key, ...values].join(" ");
const time = (ms: number) => String(ms);

test("looks", () => {
  expect(lookOf(base, true)).toBe("sending");
  expect(lookOf(base, false)).toBe("waiting");
  expect(lookOf({ ...base, state: "recorded" }, true)).toBe("recorded");
  expect(lookOf({ ...base, state: "refused" }, false)).toBe("refused");
  for (const status of ["accepted", "duplicate", "review", "rejected"] as const) {
    expect(lookOf({ ...base, state: "decided", answer: { status } }, false)).toBe(status);
  }
});

test("the ladder never claims a step that no answer backs", () => {
  const done = (tap: Tap, progress?: Parameters<typeof steps>[2]) => steps(tap, 5, progress, say, time).map((s) => s.done);
  expect(done(base)).toEqual([true, false, false, false]);
  expect(done({ ...base, state: "recorded", answer: { copies: [{ where: "n3", fsync: true }], received_at: "1970-01-01T00:00:01Z" } })).toEqual([true, true, false, false]);
  const decided: Tap = {
    ...base,
    state: "decided",
    answer: { status: "accepted", attendance: { timestamp: "1970-01-01T00:00:02Z" }, sync: { handled_by: "n2", leader: "n1", term: 7, seq: 9 } },
  };
  expect(done(decided)).toEqual([true, true, true, false]);
  expect(done(decided, { seq: 9, applied_on: 2, of: 3 })).toEqual([true, true, true, false]);
  expect(done(decided, { seq: 9, applied_on: 3, of: 3, exported: ["mysql"] })).toEqual([true, true, true, true, true]);
  const ladder = steps(decided, 5, undefined, say, time);
  expect(ladder[0]?.time).toBe("5");
  expect(ladder[1]).toEqual({ done: true, label: "step.node n2", time: "2000", note: "" });
  expect(ladder[2]?.note).toBe("step.decided.note n1 7 9");
});
