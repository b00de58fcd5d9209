import { expect, test } from "vitest";
import { hearsay, type Seen, summarize, type View } from "./cluster";

const view = (self: string, leader: string | null, term: number, seq: Record<string, number> = {}, can_lose = 1): View => ({
  node_id: self,
  epoch: "c-1",
  leader_id: leader,
  term,
  quorum: 2,
  can_lose,
  nodes: ["n1", "n2", "n3"].map((id) => ({
    id,
    state: id === leader ? "leader" : "follower",
    voter: true,
    reachable: true,
    seq: seq[id] ?? 100,
    lag: 0,
    connections: 4,
    outbox: 0,
    version: "v",
    http: "",
  })),
});
const up = (v: View): Seen => ({ view: v, answered: 5000, asked: 5000 });
const down = (v: View | undefined): Seen => ({ view: v, answered: v ? 4000 : 0, asked: 5000 });

test("calm", () => {
  const s = summarize(new Map([["n1", up(view("n1", "n1", 7))], ["n2", up(view("n2", "n1", 7))], ["n3", up(view("n3", "n1", 7, { n3: 99 }))]]), 5000);
  expect([s.verdict, s.leader, s.term, s.canLose, s.agree]).toEqual(["healthy", "n1", 7, 1, true]);
  expect(s.cards.map((c) => [c.id, c.role, c.lag])).toEqual([["n1", "leader", 0], ["n2", "follower", 0], ["n3", "follower", 1]]);
  expect(s.cards[2]?.strip).toEqual([...Array<boolean>(9).fill(true), false]);
});

test("a dead leader keeps its term, and nobody leads until somebody says so", () => {
  const s = summarize(new Map([["n1", down(view("n1", "n1", 7))], ["n2", up(view("n2", null, 8))], ["n3", up(view("n3", "n1", 7))]]), 5200);
  expect([s.verdict, s.leader, s.agree]).toEqual(["electing", "", false]);
  expect(s.cards[0]).toMatchObject({ role: "down", term: 7, silent: 1200, connections: 0 });
});

test("recovered, with nothing left to lose", () => {
  const s = summarize(new Map([["n1", down(view("n1", "n1", 7))], ["n2", up(view("n2", "n2", 8, {}, 0))], ["n3", up(view("n3", "n2", 8, {}, 0))]]), 5200);
  expect([s.verdict, s.leader, s.term, s.canLose]).toEqual(["fragile", "n2", 8, 0]);
});

test("an old leader that does not know it yet does not count", () => {
  const s = summarize(new Map([["n1", up(view("n1", "n1", 7))], ["n2", up(view("n2", "n2", 8))], ["n3", up(view("n3", "n2", 8))]]), 5200);
  expect([s.leader, s.term, s.agree]).toEqual(["n2", 8, false]);
});

test("no quorum, and nobody at all", () => {
  const one = summarize(new Map([["n1", down(view("n1", "n1", 7))], ["n2", down(undefined)], ["n3", up(view("n3", null, 7, {}, 0))]]), 5200);
  expect([one.verdict, one.alive, one.voters]).toEqual(["stopped", 1, 3]);
  expect(summarize(new Map([["n1", down(view("n1", "n1", 7))]]), 6000).verdict).toBe("unreachable");
});

test("what one node says of all", () => {
  const mine = view("n1", "n2", 7);
  mine.nodes = mine.nodes.map((node) => ({ ...node, reachable: node.id === "n2" })); // it may not count itself
  const said = hearsay(mine);
  expect(said.map(([id, v]) => [id, v?.node_id])).toEqual([["n1", "n1"], ["n2", "n2"], ["n3", undefined]]);
  const s = summarize(new Map(said.map(([id, v]) => [id, v ? up(v) : down(undefined)])), 5000);
  expect([s.verdict, s.leader, s.alive, s.agree]).toEqual(["healthy", "n2", 2, true]);
  expect(s.cards.map((c) => c.role)).toEqual(["follower", "leader", "down"]);
});
