// What a tap's answers mean for the person who waits: one heading, one sentence,
// and the ladder from the phone to every node.
import type { State, Tap } from "./outbox";

/** Decision is what is read of the answer to POST /checkins. */
export interface Decision {
  status?: string;
  reason?: string;
  detail?: string;
  received_at?: string;
  copies?: Array<{ where: string; fsync: boolean }>;
  attendance?: { timestamp: string; first_seen_at: string; node_id: string; seq: number };
  sync?: { handled_by: string; leader: string; term: number; seq: number };
}

export type Look = "sending" | "accepted" | "duplicate" | "review" | "rejected" | "recorded" | "waiting" | "refused";

/** lookOf says how a tap stands. sending: a first try is under way. */
export function lookOf(tap: Tap, sending: boolean): Look {
  const decision = tap.answer as Decision | undefined;
  const byState: Record<State, () => Look> = {
    waiting: () => (sending ? "sending" : "waiting"),
    recorded: () => "recorded",
    refused: () => "refused",
    decided: () => {
      switch (decision?.status) {
        case "duplicate":
        case "review":
        case "rejected":
          return decision.status;
        default:
          return "accepted";
      }
    },
  };
  return byState[tap.state]();
}

/** Progress is how far a decision has spread, as the stream tells it. */
export interface Progress {
  seq: number;
  applied_on: number;
  of: number;
  exported?: string[];
}

export interface Step {
  done: boolean;
  label: string;
  time: string;
  note: string;
}

/** steps gives the ladder. say and time put words and times of the site. */
export function steps(
  tap: Tap,
  madeAt: number,
  progress: Progress | undefined,
  say: (key: string, ...values: Array<string | number>) => string,
  time: (ms: number) => string,
): Step[] {
  const d = (tap.answer ?? {}) as Decision;
  const step = (done: boolean, label: string, at?: string, note = ""): Step => ({ done, label, time: at ? time(Date.parse(at)) : "", note });
  const where = d.sync?.handled_by ?? d.copies?.find((copy) => copy.fsync)?.where ?? d.copies?.[0]?.where;
  const received = where !== undefined || tap.state === "decided";
  const accepted = tap.state === "decided" && d.status === "accepted";
  const spread = progress !== undefined && progress.applied_on >= progress.of;
  const out = [
    { done: true, label: say("step.phone"), time: time(madeAt), note: "" },
    step(received, where ? say("step.node", where) : say("step.node.open"), d.received_at ?? (accepted ? d.attendance?.timestamp : undefined)),
    step(tap.state === "decided", say("step.decided"), undefined, d.sync ? say("step.decided.note", d.sync.leader, d.sync.term, d.sync.seq) : ""),
  ];
  if (tap.state === "decided" && progress) {
    out.push(step(spread, say("step.spread", progress.applied_on, progress.of)));
    if (progress.exported?.length) out.push(step(true, say("step.exported", progress.exported.join(", "))));
  } else {
    out.push(step(false, say("step.spread.open")));
  }
  return out;
}
