// What the nodes say of the cluster, side by side. Each node's view is its own and
// is never averaged: who leads is what the leader and a quorum say, and where views
// differ for long, the difference is shown.

export interface NodeView {
  id: string;
  state: string;
  voter: boolean;
  reachable: boolean;
  seq: number;
  lag: number;
  connections: number;
  outbox: number;
  version: string;
  http: string;
}

export interface View {
  node_id: string;
  epoch: string;
  leader_id: string | null;
  term: number;
  quorum: number;
  can_lose: number;
  nodes: NodeView[];
}

/** Seen is what a node last said, and when, on the page's monotonic clock. */
export interface Seen {
  view: View | undefined;
  answered: number; // 0 for never
  asked: number; // the newest question that was settled, answered or not
}

/**
 * hearsay gives what one node says of all, where nobody passes questions on to the
 * others: those that it reaches are taken to see what it sees.
 */
export function hearsay(view: View): Array<[id: string, view: View | undefined]> {
  return view.nodes.map((node) => [node.id, node.id === view.node_id || node.reachable ? { ...view, node_id: node.id } : undefined]);
}

export type Verdict = "healthy" | "fragile" | "electing" | "stopped" | "unreachable";

export interface Card {
  id: string;
  role: string; // leader, follower, candidate, joining, stopping or down
  voter: boolean;
  term: number; // that it last spoke of
  seq: number;
  lag: number; // behind the newest that anybody knows of
  strip: boolean[]; // of the newest events of all, oldest first: does it have them?
  connections: number;
  outbox: number;
  silent: number; // ms since it last answered; 0 when it answers
  http: string;
}

export interface Summary {
  verdict: Verdict;
  leader: string;
  term: number;
  canLose: number;
  alive: number;
  voters: number;
  cards: Card[];
  opinions: Array<{ id: string; leader: string; term: number; seq: number }>;
  agree: boolean;
}

const stripLength = 10;

/** answers reports whether the last question to a node was answered. */
const answers = (seen: Seen): boolean => seen.view !== undefined && seen.answered > 0 && seen.answered === seen.asked;

export function summarize(all: Map<string, Seen>, now: number): Summary {
  const alive = [...all.entries()].filter(([, seen]) => answers(seen)).map(([id, seen]) => ({ id, view: seen.view as View }));
  const members = new Map<string, NodeView>();
  for (const { view } of alive) for (const node of view.nodes) if (!members.has(node.id)) members.set(node.id, node);
  // A node speaks best for itself.
  for (const { id, view } of alive) {
    const self = view.nodes.find((node) => node.id === id);
    if (self) members.set(id, self);
  }
  for (const [id, { view }] of all) {
    const known = view?.nodes.find((node) => node.id === id);
    if (known && !members.has(id)) members.set(id, known);
  }
  const voters = [...members.values()].filter((node) => node.voter);
  const aliveVoters = voters.filter((node) => alive.some(({ id }) => id === node.id));
  const quorum = Math.max(0, ...alive.map(({ view }) => view.quorum), Math.floor(voters.length / 2) + 1);
  const term = Math.max(0, ...alive.map(({ view }) => view.term));
  const leading = alive.find(({ id, view }) => view.leader_id === id && view.term === term);
  const head = Math.max(0, ...[...members.values()].map((node) => node.seq));

  const cards = [...members.values()]
    .sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }))
    .map((node): Card => {
      const seen = all.get(node.id);
      const up = seen !== undefined && answers(seen);
      return {
        id: node.id,
        role: up ? node.state : "down",
        voter: node.voter,
        term: seen?.view?.term ?? 0,
        seq: node.seq,
        lag: head - node.seq,
        strip: Array.from({ length: stripLength }, (_, i) => node.seq >= head - stripLength + 1 + i),
        connections: up ? node.connections : 0,
        outbox: node.outbox,
        silent: up ? 0 : seen && seen.answered > 0 ? Math.round(now - seen.answered) : 0,
        http: node.http,
      };
    });

  const opinions = alive.map(({ id, view }) => ({
    id,
    leader: view.leader_id ?? "",
    term: view.term,
    seq: view.nodes.find((node) => node.id === id)?.seq ?? 0,
  }));
  const verdict = ((): Verdict => {
    if (alive.length === 0) return "unreachable";
    if (aliveVoters.length < quorum) return "stopped";
    if (!leading) return "electing";
    return leading.view.can_lose > 0 || voters.length === 1 ? "healthy" : "fragile";
  })();
  return {
    verdict,
    leader: leading?.id ?? "",
    term,
    canLose: Math.max(0, aliveVoters.length - quorum),
    alive: aliveVoters.length,
    voters: voters.length,
    cards,
    opinions,
    agree: opinions.every((o) => o.leader === opinions[0]?.leader && o.term === opinions[0]?.term),
  };
}
