import { beforeEach, expect, test } from "vitest";
import { type Body, Outbox, type Store, type Tap, verdict } from "./outbox";

const body: Body = { type: "in", client_time: "2026-11-23T06:58:13.902Z" };

/** A phone: its disk outlives the page, and every write is a copy. */
class Disk implements Store {
  rows = new Map<string, string>();
  async all() {
    return [...this.rows.values()].map((row) => JSON.parse(row) as Tap);
  }
  async put(tap: Tap) {
    this.rows.set(tap.key, JSON.stringify(tap));
  }
  async remove(key: string) {
    this.rows.delete(key);
  }
}

type Reply = { status: number; retryAfter?: number; answer?: unknown } | "lost";

let disk: Disk;
let sent: Tap[];
let replies: Reply[];
let timers: Array<() => void>;
let states: string[];
let stored: boolean; // whether a tap was on disk each time it was sent

function page(): Outbox {
  return new Outbox(
    {
      store: disk,
      send: async (tap) => {
        stored &&= disk.rows.has(tap.key);
        sent.push(structuredClone(tap));
        const reply = replies.shift() ?? "lost";
        if (reply === "lost") throw new TypeError("network");
        return { retryAfter: 0, answer: undefined, ...reply };
      },
      now: () => Date.UTC(2026, 10, 23) + sent.length,
      random: () => 0.5,
      alone: (work) => work(),
      changed: (tap) => states.push(tap.state),
      later: (_, work) => timers.push(work),
    },
    7,
  );
}

async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

beforeEach(() => {
  disk = new Disk();
  [sent, replies, timers, states, stored] = [[], [], [], [], true];
});

test("a tap is stored before it is sent, and gone when it is decided", async () => {
  replies = [{ status: 201 }];
  await page().tap(body);
  await settled();
  expect(stored).toBe(true);
  expect(states).toEqual(["waiting", "decided"]);
  expect(disk.rows.size).toBe(0);
});

test("ten taps while one is under way are one key and one body", async () => {
  const box = page();
  const keys = new Set<string>();
  for (let i = 0; i < 10; i++) keys.add((await box.tap({ ...body, client_time: `${i}` })).key);
  await settled();
  expect(keys.size).toBe(1);
  replies = [{ status: 201 }];
  timers.forEach((timer) => timer());
  await settled();
  expect(new Set(sent.map((tap) => tap.body.client_time))).toEqual(new Set(["0"]));
});

test("a page that dies leaves the tap for the next page, with key and body", async () => {
  const { key } = await page().tap(body);
  await settled();
  replies = [{ status: 503, retryAfter: 1 }, { status: 201 }];
  const next = page();
  await next.drain();
  await settled();
  timers.pop()?.();
  await settled();
  expect(sent.map((tap) => tap.key)).toEqual([key, key, key]);
  expect(sent.every((tap) => JSON.stringify(tap.body) === JSON.stringify(body))).toBe(true);
  expect(disk.rows.size).toBe(0);
});

test("what was recorded is asked for until it is decided, by answer or by stream", async () => {
  replies = [{ status: 202, answer: { status: "queued" } }];
  const box = page();
  const { key } = await box.tap(body);
  await settled();
  expect(states).toEqual(["waiting", "recorded"]);
  await box.settle(key, { status: "accepted" });
  expect(disk.rows.size).toBe(0);
  expect(states.at(-1)).toBe("decided");
});

test("a review is a decision", async () => {
  replies = [{ status: 202, answer: { status: "review" } }];
  await page().tap(body);
  await settled();
  expect(states.at(-1)).toBe("decided");
});

test("a refusal is kept until it was read, and does not hold up others", async () => {
  replies = [{ status: 403 }, { status: 201 }];
  const box = page();
  const { key } = await box.tap(body);
  await settled();
  await box.tap({ ...body, type: "out" });
  await settled();
  expect(disk.rows.size).toBe(1);
  await box.dismiss(key);
  expect(disk.rows.size).toBe(0);
});

test("another person's taps on the same phone are not sent under this name", async () => {
  await disk.put({ key: "k", owner: 8, body, madeAt: 0, tries: 0, state: "waiting", status: 0 });
  await page().drain();
  expect(sent).toEqual([]);
  expect(disk.rows.size).toBe(1);
});

test("verdicts", () => {
  for (const status of [201, 409, 422]) expect(verdict(status)).toBe("decided");
  for (const status of [0, 302, 401, 408, 429, 500, 502, 503, 504]) expect(verdict(status)).toBe("later");
  for (const status of [400, 403, 404, 413, 415]) expect(verdict(status)).toBe("refused");
  expect(verdict(202)).toBe("recorded");
});
