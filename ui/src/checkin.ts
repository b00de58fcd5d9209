// The check-in page. Without it the two buttons are plain forms.
import Alpine from "@alpinejs/csp";
import { Clock } from "./lib/clock";
import { disk } from "./lib/disk";
import { type Body, Outbox, type Tap } from "./lib/outbox";
import { forget, known, remember } from "./lib/profile";
import { locationOf, type Place, ring, watch } from "./lib/place";
import { type Decision, lookOf, type Progress, type Step, steps } from "./lib/receipt";
import { browser, keepUp, Stream } from "./lib/stream";
import { Words } from "./lib/words";

const answerTimeout = 8000;
const heardWithin = 10_000;
const poorFrom = 100; // metres
const skewFrom = 2 * 60_000;
const drainEvery = 30_000;

// Paths in a field of 24 by 24: a glyph would be a picture on one phone and an empty box on another.
const [tick, cross, hourglass] = ["M5 12.5l4.5 4.5L19 7", "M6 6l12 12M18 6L6 18", "M6 3h12M6 21h12M8 3c0 6 8 6 8 9s-8 3-8 9M16 3c0 6-8 6-8 9s8 3 8 9"];
const icons = {
  sending: "M5 12h.01M12 12h.01M19 12h.01",
  accepted: tick,
  duplicate: "M4.5 9.5a8 8 0 1 1-.3 4.5M4 4v5.5h5.5",
  review: hourglass,
  rejected: cross,
  recorded: hourglass,
  waiting: "M8 2.5h8a1 1 0 0 1 1 1v17a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1v-17a1 1 0 0 1 1-1zM11 18.5h2",
  refused: cross,
} as const;

async function send(tap: Tap): Promise<{ status: number; retryAfter: number; answer: unknown }> {
  const response = await fetch("/api/v1/checkins", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": tap.key },
    body: JSON.stringify(tap.body),
    credentials: "same-origin",
    signal: AbortSignal.timeout(answerTimeout),
  });
  const answer: unknown = await response.json().catch(() => undefined);
  return { status: response.status, retryAfter: Math.min(30, Number(response.headers.get("Retry-After")) || 0), answer };
}

/** alone lets one page of this browser drain at a time. */
async function alone<T>(work: () => Promise<T>): Promise<T | undefined> {
  if (!("locks" in navigator)) return work();
  return navigator.locks.request("hadir-drain", { ifAvailable: true }, (lock) => (lock ? work() : undefined)) as Promise<T | undefined>;
}

Alpine.data("checkin", () => ({
  time: "",
  skew: "",
  placeText: "",
  placeState: "seeking",
  ring: 96,
  look: "" as "" | keyof typeof icons,
  icon: "",
  heading: "",
  detail: "",
  code: "",
  ladder: [] as Step[],
  pending: "",

  init(this: Page) {
    const data = this.$el.dataset;
    const words = new Words(data["words"] ?? "{}");
    const say = (key: string, ...values: Array<string | number>): string => words.say(key, ...values);
    // Without a connection the page is empty, and what is known is from the last time.
    const online = data["user"] !== "0";
    const profile = online
      ? { user: Number(data["user"]), offset: Number(data["offset"]), zone: data["zone"] ?? "", ahead: Number(data["now"]) - Date.now() }
      : known();
    if (!profile) return location.replace("/");
    if (online) remember(profile);
    const { user: owner } = profile;
    const clock = new Clock(Date.now() + profile.ahead, performance.now(), { offset: profile.offset, name: profile.zone }, document.documentElement.lang);
    let place: Place = { state: "seeking" };
    let heard = online ? performance.now() : -heardWithin; // when the server was last heard of
    let up = false;
    let current: Tap | undefined;
    let sending = false;
    let progress: Progress | undefined;
    // Taps of this person that a node has recorded, from whichever device they came.
    const recorded = new Set<string>();

    const show = (): void => {
      if (!current) return;
      const d = (current.answer ?? {}) as Decision;
      const look = lookOf(current, sending);
      const at = d.attendance ? clock.text(Date.parse(d.attendance.first_seen_at)) : "";
      const where = d.copies?.[0]?.where ?? "";
      this.look = look;
      this.icon = icons[look];
      this.heading = say(`tap.${look}`, look === "recorded" ? where : at);
      this.detail = look === "refused" ? (d.detail ?? say("tap.refused.text")) : say(`tap.${look}.text`);
      this.code = current.key;
      // The phone's clock told when; the ladder is in the server's.
      const madeAt = clock.now(performance.now()) - (Date.now() - current.madeAt);
      this.ladder = steps(current, madeAt, progress, say, (ms) => clock.text(ms, true));
    };

    const count = async (): Promise<void> => {
      const keys = new Set([...recorded, ...(await box.open()).map((tap) => tap.key)]);
      if (current) keys.delete(current.key); // its receipt says it
      this.pending = keys.size === 0 ? "" : words.count("tap.pending", keys.size, keys.size);
    };

    const box = new Outbox(
      {
        store: disk(),
        send: async (tap) => {
          try {
            const reply = await send(tap);
            heard = performance.now();
            if (reply.status === 401) location.assign("/");
            return reply;
          } finally {
            sending = false;
            show();
          }
        },
        now: () => Date.now(),
        random: () => Math.random(),
        alone,
        changed: (tap) => {
          if (!current || current.key === tap.key || tap.state === "refused") current = tap;
          show();
          void count();
          if (tap.state === "decided") {
            navigator.vibrate?.(60);
            document.dispatchEvent(new CustomEvent("hadir:refresh"));
          }
        },
        later: (ms, work) => setTimeout(work, ms),
      },
      owner,
    );

    this.tap = async (type) => {
      if (sending) return;
      const reachable = navigator.onLine && (up || performance.now() - heard < heardWithin);
      const body: Body = { type, client_time: new Date().toISOString(), ...locationOf(place, Date.now()) };
      if (!reachable) body.offline = true;
      sending = reachable;
      progress = undefined;
      current = await box.tap(body);
      show();
      document.getElementById("receipt")?.scrollIntoView({ block: "nearest" });
    };

    // The stream says that a waiting tap was decided; the answer is fetched.
    const decided = async (key: string): Promise<void> => {
      if (!(await box.open()).some((tap) => tap.key === key && tap.state === "recorded")) return;
      const response = await fetch(`/api/v1/checkins/${key}`, { signal: AbortSignal.timeout(answerTimeout) }).catch(() => undefined);
      if (response?.ok) await box.settle(key, await response.json());
    };

    // A node has recorded a tap, or is done with it. Where it has its event, that one says more.
    const waits = ({ key, status }: Pending): void => {
      if (status === "decided") {
        recorded.delete(key);
        void decided(key);
      } else recorded.add(key);
      void count();
    };

    const stream = new Stream(
      ["attendance", "progress", "pending"],
      online ? { epoch: data["epoch"] ?? "", seq: Number(data["seq"]) } : undefined,
      {
        event: (frame) => {
          if (typeof frame["id"] !== "string") return;
          if (recorded.delete(frame["id"])) void count();
          void decided(frame["id"]);
        },
        other: (frame) => {
          if (frame.t === "pending") return waits(frame["data"] as Pending);
          const got = frame["data"] as Progress | undefined;
          if (frame.t !== "progress" || !got || got.seq !== (current?.answer as Decision | undefined)?.attendance?.seq) return;
          progress = got;
          show();
        },
        up: (node) => {
          up = node !== undefined;
          if (!up) return;
          if (!online) return location.replace("/");
          heard = performance.now();
          void box.drain();
        },
      },
      browser(),
    );
    keepUp(stream);

    void navigator.storage?.persist?.().catch(() => false);
    void box.drain().then(count);
    for (const [target, name] of [[document, "visibilitychange"], [window, "pageshow"], [window, "online"]] as const) {
      target.addEventListener(name, () => void box.drain());
    }
    setInterval(() => void box.drain(), drainEvery * (0.75 + Math.random() / 2));

    watch((next) => {
      place = next;
      this.placeState = next.state;
      if (next.state === "found") {
        const poor = next.accuracy > poorFrom;
        if (poor) this.placeState = "poor";
        this.ring = ring(next.accuracy);
        this.placeText = say(poor ? "place.poor" : "place.found", distance(next.accuracy));
      } else if (next.state === "failed") {
        this.placeText = say(isSecureContext ? `place.${next.why}` : "place.insecure");
      }
    });
    this.placeText ||= say("place.seeking");

    const off = Date.now() - clock.now(performance.now());
    if (Math.abs(off) > skewFrom) this.skew = say("tap.skew", Math.round(Math.abs(off) / 60_000));
    const day = clock.day(clock.now(performance.now()));
    const tick = (): void => {
      const now = clock.now(performance.now());
      this.time = clock.text(now);
      if (clock.day(now) !== day) return location.reload(); // nothing of yesterday stays on the screen
      setTimeout(tick, 1000 - (now % 1000));
    };
    tick();
  },
  tap: async (_: Body["type"]): Promise<void> => undefined,
}));

/** Pending is what a node says of a tap that it has recorded: queued, set_aside or decided. */
interface Pending {
  key: string;
  status: string;
}

interface Page {
  $el: HTMLElement;
  time: string;
  skew: string;
  placeText: string;
  placeState: string;
  ring: number;
  look: string;
  icon: string;
  heading: string;
  detail: string;
  code: string;
  ladder: Step[];
  pending: string;
  tap(type: Body["type"]): Promise<void>;
}

function distance(metres: number): string {
  const kilometres = (metres / 1000).toLocaleString(document.documentElement.lang, { maximumFractionDigits: 1 });
  return metres < 1000 ? `${Math.round(metres)} m` : `${kilometres} km`;
}

// Whoever signs out takes their name off this phone; taps that wait stay theirs.
document.querySelector('form[action="/sign-out"]')?.addEventListener("submit", forget);
void navigator.serviceWorker?.register("/sw.js").catch(() => undefined);

Alpine.start();
