import { beforeEach, expect, test } from "vitest";
import { type Frame, type Position, type Socket, Stream } from "./stream";

class Fake implements Socket {
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  closed = false;
  constructor(readonly url: URL) {}
  close() {
    this.closed = true;
  }
  say(frame: Frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  drop(code: number) {
    this.onclose?.({ code });
  }
}

let sockets: Fake[];
let timers: Array<{ ms: number; work: () => void; off: boolean }>;
let hidden: boolean;
let seen: Array<number | string>;

function open(position?: Position): Stream {
  const stream = new Stream(
    ["attendance"],
    position,
    {
      event: (frame) => seen.push(frame.seq ?? -1),
      other: (frame) => seen.push(frame.t),
      reset: (reason) => seen.push(`reset ${reason}`),
      up: (node) => seen.push(node === undefined ? "down" : `up ${node}`),
    },
    {
      open: (url) => {
        const socket = new Fake(new URL(url, "http://x"));
        sockets.push(socket);
        return socket;
      },
      random: () => 1,
      later: (ms, work) => {
        const timer = { ms, work, off: false };
        timers.push(timer);
        return () => (timer.off = true);
      },
      hidden: () => hidden,
    },
  );
  stream.start();
  return stream;
}

const last = () => sockets.at(-1)!;

beforeEach(() => {
  [sockets, timers, hidden, seen] = [[], [], false, []];
});

test("goes on after the last event on the next node, without doubles", () => {
  open({ epoch: "c-1", seq: 10 });
  expect(last().url.search).toBe("?topics=attendance&epoch=c-1&after=10");
  last().say({ t: "hello", node: "n1", epoch: "c-1", seq: 12, resume: "ok" });
  for (const seq of [10, 11, 12]) last().say({ t: "event", seq });
  last().say({ t: "mark", seq: 15 });
  last().drop(1006);
  expect(timers[0]?.ms).toBe(400);
  timers[0]?.work();
  expect(last().url.searchParams.get("after")).toBe("15");
  last().say({ t: "hello", node: "n2", epoch: "c-1", seq: 16, resume: "ok" });
  last().say({ t: "event", seq: 15 });
  last().say({ t: "event", seq: 16 });
  expect(seen).toEqual(["up n1", 11, 12, "down", "up n2", 16]);
});

test("a reset moves to the head and says so", () => {
  open({ epoch: "c-1", seq: 10 });
  last().say({ t: "hello", node: "n1", epoch: "c-2", seq: 3, resume: "reset", reason: "epoch" });
  last().say({ t: "event", seq: 4 });
  expect(seen).toEqual(["reset epoch", "up n1", 4]);
});

test("without a position the head is the beginning", () => {
  open();
  last().say({ t: "hello", node: "n1", epoch: "c-1", seq: 5 });
  last().say({ t: "event", seq: 6 });
  last().drop(4001);
  timers[0]?.work();
  expect(last().url.searchParams.get("after")).toBe("6");
});

test("waits grow to two seconds, and a connection forgets them", () => {
  open({ epoch: "c-1", seq: 0 });
  for (let i = 0; i < 5; i++) {
    last().drop(1006);
    timers.at(-1)?.work();
  }
  expect(timers.map((timer) => timer.ms)).toEqual([400, 800, 1600, 2000, 2000]);
  last().say({ t: "hello", epoch: "c-1", seq: 0, resume: "ok" });
  last().drop(1006);
  expect(timers.at(-1)?.ms).toBe(400);
});

test("a hidden page waits to be seen, and whoever lost the right stays away", () => {
  const stream = open({ epoch: "c-1", seq: 0 });
  hidden = true;
  last().drop(1006);
  expect(timers.length).toBe(0);
  stream.wake();
  expect(sockets.length).toBe(2);
  last().drop(4003);
  stream.wake();
  expect(sockets.length).toBe(2);
});

test("a wake does not open a second connection", () => {
  const stream = open({ epoch: "c-1", seq: 0 });
  stream.wake();
  expect(sockets.length).toBe(1);
  last().drop(1006);
  stream.wake();
  expect(sockets.length).toBe(2);
  expect(timers[0]?.off).toBe(true);
});

test("stop is for good", () => {
  const stream = open({ epoch: "c-1", seq: 0 });
  stream.stop();
  expect(last().closed).toBe(true);
  last().drop(1000);
  expect(timers.length).toBe(0);
});
