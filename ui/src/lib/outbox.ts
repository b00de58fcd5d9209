// The queue of taps on this phone. A tap is written here, key and body, before it
// is sent, and stays until it was decided: whatever dies in between, the same key
// and the same body are sent again, and the cluster counts them once.
//
// One drainer sends at a time, in order; the oldest tap is settled first. What the
// server refuses for good is kept and shown.
import { wait } from "./backoff";
import { ulid } from "./ulid";

/** Body is what is sent, and never changes once it is stored: the key stands for it. */
export interface Body {
  type: "in" | "out";
  client_time: string;
  offline?: boolean;
  latitude?: number;
  longitude?: number;
  accuracy_m?: number;
  location_error?: "denied" | "unavailable" | "timeout";
}

/** State is how far a tap has come. */
export type State =
  | "waiting" // on this phone, not known to have arrived
  | "recorded" // durable on a node, undecided
  | "decided" // accepted, duplicate, review or rejected: final
  | "refused"; // the server wants it differently, or from somebody else

export interface Tap {
  key: string;
  owner: number; // the user id: another person may sign in on the same phone
  body: Body;
  madeAt: number; // of this phone's clock
  tries: number;
  state: State;
  status: number; // of the last answer, 0 for none
  answer?: unknown; // the last answer's document
}

/** Store keeps taps for ever: IndexedDB, or memory in tests. put resolves when it is on disk. */
export interface Store {
  all(): Promise<Tap[]>; // oldest first
  put(tap: Tap): Promise<void>;
  remove(key: string): Promise<void>;
}

export interface Deps {
  store: Store;
  send(tap: Tap): Promise<{ status: number; retryAfter: number; answer: unknown }>; // rejects when nothing came back
  now(): number;
  random(): number;
  alone<T>(work: () => Promise<T>): Promise<T | undefined>; // undefined when somebody else is at it
  changed(tap: Tap): void;
  later(ms: number, work: () => void): void;
}

const longest = 60_000;

export class Outbox {
  private failed = 0;
  private draining = false;
  private again = false;

  constructor(private readonly deps: Deps, private readonly owner: number) {}

  /**
   * tap stores a tap and begins to send it. While one of the same type is on its
   * way, a second one is the same: its key comes back, and nothing is stored.
   */
  async tap(body: Body): Promise<Tap> {
    const open = (await this.open()).find((t) => t.body.type === body.type && t.state === "waiting");
    if (open) {
      void this.drain();
      return open;
    }
    const now = this.deps.now();
    const tap: Tap = { key: ulid(now), owner: this.owner, body, madeAt: now, tries: 0, state: "waiting", status: 0 };
    await this.deps.store.put(tap);
    this.deps.changed(tap);
    void this.drain();
    return tap;
  }

  /** open gives this person's taps that are not decided, oldest first. */
  async open(): Promise<Tap[]> {
    return (await this.deps.store.all()).filter((t) => t.owner === this.owner && (t.state === "waiting" || t.state === "recorded"));
  }

  /** settle is for a decision that came by the stream. */
  async settle(key: string, answer: unknown): Promise<void> {
    const tap = (await this.open()).find((t) => t.key === key);
    if (tap) await this.finish(tap, "decided", tap.status, answer);
  }

  /** dismiss forgets a tap that was refused and read. */
  async dismiss(key: string): Promise<void> {
    await this.deps.store.remove(key);
  }

  /**
   * drain sends what is open until it is settled or the server cannot be reached;
   * then it comes back by itself. Calling it at any time, from several places, is
   * fine: it never runs twice at once.
   */
  async drain(): Promise<void> {
    if (this.draining) {
      this.again = true;
      return;
    }
    this.draining = true;
    try {
      do {
        this.again = false;
        await this.deps.alone(() => this.pass());
      } while (this.again);
    } finally {
      this.draining = false;
    }
  }

  private async pass(): Promise<void> {
    for (const tap of await this.open()) {
      let reply;
      tap.tries += 1;
      await this.deps.store.put(tap);
      try {
        reply = await this.deps.send(tap);
      } catch {
        return this.comeBack(0);
      }
      tap.status = reply.status;
      switch (verdict(reply.status)) {
        case "recorded":
          this.failed = 0;
          if (isReview(reply.answer)) {
            await this.finish(tap, "decided", reply.status, reply.answer);
            break;
          }
          tap.state = "recorded";
          tap.answer = reply.answer;
          await this.deps.store.put(tap);
          this.deps.changed(tap);
          this.comeBack(2000); // ask again: the stream may be gone
          break;
        case "decided":
          this.failed = 0;
          await this.finish(tap, "decided", reply.status, reply.answer);
          break;
        case "refused":
          await this.finish(tap, "refused", reply.status, reply.answer);
          break;
        case "later":
          this.deps.changed(tap);
          return this.comeBack(reply.retryAfter * 1000);
      }
    }
  }

  private async finish(tap: Tap, state: State, status: number, answer: unknown): Promise<void> {
    Object.assign(tap, { state, status, answer });
    // A decision is the server's to keep; a refusal is shown until it was read.
    if (state === "decided") await this.deps.store.remove(tap.key);
    else await this.deps.store.put(tap);
    this.deps.changed(tap);
  }

  private comeBack(least: number): void {
    this.deps.later(least + wait(this.failed++, longest, this.deps.random()), () => void this.drain());
  }
}

/** verdict says what an answer means for a tap. */
export function verdict(status: number): "recorded" | "decided" | "refused" | "later" {
  if (status === 202) return "recorded";
  if (status === 201 || status === 409 || status === 422) return "decided";
  // Sessions end and nodes die, and too many requests are answered later; what is
  // left is wrong by itself and stays wrong.
  if (status === 401 || status === 408 || status === 429 || status >= 500 || status < 400) return "later";
  return "refused";
}

function isReview(answer: unknown): boolean {
  return typeof answer === "object" && answer !== null && "status" in answer && answer.status === "review";
}
