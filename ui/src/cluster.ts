// The cluster page. Every node is asked for its own view, through the front that
// serves this page: a dead one is seen not to answer, not inferred. Without a front
// there is only what the node of this page says of the others.
import Alpine from "@alpinejs/csp";
import { Clock } from "./lib/clock";
import { type Card, hearsay, type Seen, summarize, type View } from "./lib/cluster";
import { browser, keepUp, Stream } from "./lib/stream";
import { Words } from "./lib/words";

const every = 1000;
const patience = 1500;
const notableAfter = 1000; // views may differ for as long without a word
const hues = 6;
const kept = 8;

interface Morning {
  state: string;
  sent: number;
  accepted: number;
  duplicate: number;
  review: number;
  rejected: number;
  waiting: number;
  lost: number | null;
  longest_gap_ms: number;
}

interface Shown extends Card {
  roleText: string;
  termText: string;
  hue: number;
  note: string;
  full: string;
  dead: boolean;
}

Alpine.data("cluster", () => ({
  verdict: "",
  headline: "",
  detail: "",
  leaderText: "",
  loseText: "",
  stopwatch: "",
  cards: [] as Shown[],
  opinions: [] as Array<{ id: string; text: string }>,
  feed: [] as Array<{ at: string; text: string }>,
  proof: [] as Array<{ key: string; label: string; value: string }>,
  busy: "",
  trouble: "",

  init(this: Page) {
    const data = this.$el.dataset;
    const words = new Words(data["words"] ?? "{}");
    const say = (key: string, ...values: Array<string | number>): string => words.say(key, ...values);
    const lang = document.documentElement.lang;
    const number = new Intl.NumberFormat(lang);
    const seconds = (ms: number): string => say("view.seconds", (ms / 1000).toLocaleString(lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
    const seen = new Map<string, Seen>();
    for (const id of JSON.parse(data["nodes"] ?? "[]") as string[]) seen.set(id, { view: undefined, answered: 0, asked: 0 });
    let leaderless = 0; // since when, 0 while there is a leader
    let differ = 0;
    let before = "";

    // Times are the site's, whatever zone this device is in and whatever its clock says.
    const clock = new Clock(Number(data["now"]), performance.now(), { offset: Number(data["offset"]), name: data["zone"] ?? "" }, lang);
    const note = (text: string): void => {
      const at = clock.text(clock.now(performance.now()));
      this.feed = [{ at, text }, ...this.feed].slice(0, kept);
    };

    const show = (): void => {
      const now = performance.now();
      const s = summarize(seen, now);
      if (s.verdict === "electing" || s.verdict === "stopped") leaderless ||= now;
      if (s.leader && leaderless) {
        note(say("view.elected", s.leader, s.term, seconds(now - leaderless)));
        leaderless = 0;
      } else if (s.leader && before && before !== s.leader) note(say("view.moved", s.leader, s.term));
      if (s.leader) before = s.leader;
      // What the rest of the page says of the cluster is older than this.
      if (this.verdict && this.verdict !== s.verdict) document.dispatchEvent(new CustomEvent("hadir:refresh"));
      this.verdict = s.verdict;
      this.headline = say(`view.${s.verdict}`, s.alive, s.voters);
      this.detail = s.verdict === "stopped" ? say("view.stopped.text") : "";
      this.leaderText = s.leader ? say("view.leader", s.leader, s.term) : "";
      this.loseText = s.verdict === "healthy" || s.verdict === "fragile" ? words.count("view.lose", s.canLose, s.canLose) : "";
      this.stopwatch = leaderless ? say("view.without", seconds(now - leaderless)) : "";
      for (const card of s.cards) {
        const was = this.cards.find((c) => c.id === card.id);
        if (was && was.dead !== (card.role === "down")) note(say(was.dead ? "view.back" : "view.gone", card.id));
      }
      this.cards = s.cards.map((card) => ({
        ...card,
        dead: card.role === "down",
        roleText: say(`view.role.${card.role}`),
        termText: card.term ? say("view.term", card.term) : "",
        hue: card.term % hues,
        full: number.format(card.seq),
        note: card.role === "down" ? (card.silent ? say("view.silent", seconds(card.silent)) : say("view.never")) : card.lag > 0 ? words.count("view.lag", card.lag, number.format(card.lag)) : say("view.even"),
      }));
      differ = s.agree ? 0 : differ || now;
      this.opinions = differ && now - differ > notableAfter ? s.opinions.map((o) => ({ id: o.id, text: say("view.opinion", o.leader || "–", o.term, number.format(o.seq)) })) : [];
    };

    const take = (id: string, view: View | undefined): void => {
      const now = performance.now();
      const last = seen.get(id);
      seen.set(id, view ? { view, answered: now, asked: now } : { view: last?.view, answered: last?.answered ?? 0, asked: now });
      for (const node of view?.nodes ?? []) if (!seen.has(node.id)) seen.set(node.id, { view: undefined, answered: 0, asked: 0 });
    };

    let front = true; // somebody passes questions on
    const viewAt = async (prefix: string): Promise<View | undefined> => {
      try {
        const answer = await fetch(`${prefix}/api/v1/cluster`, { signal: AbortSignal.timeout(patience), cache: "no-store" });
        if (answer.ok) return (await answer.json()) as View;
        // A front's own answer has no node's name.
        if (prefix && answer.status === 404 && answer.headers.has("X-Hadir-Node")) front = false;
      } catch {
        // it does not answer
      }
      return undefined;
    };
    const ask = async (id: string): Promise<void> => {
      const view = await viewAt(`/n/${encodeURIComponent(id)}`);
      // What answered under the name may be somebody else.
      if (front) take(id, view?.node_id === id ? view : undefined);
    };
    const askAll = async (): Promise<void> => {
      if (front) await Promise.all([...seen.keys()].map(ask));
      if (front) return;
      const view = await viewAt("");
      for (const [id, said] of view ? hearsay(view) : [...seen.keys()].map((id) => [id, undefined] as const)) take(id, said);
    };

    const round = async (): Promise<void> => {
      if (!document.hidden) {
        await askAll();
        show();
        if (data["demo"]) await this.count(say, number);
      }
      setTimeout(() => void round(), every);
    };
    void round();
    setInterval(() => leaderless && show(), 100);

    // What changes is pushed; asking around is for who does not answer.
    keepUp(
      new Stream(["cluster"], undefined, {
        other: (frame) => {
          const view = frame["data"] as View | undefined;
          if (frame.t !== "cluster" || !view?.node_id) return;
          take(view.node_id, view);
          show();
        },
      }, browser()),
    );

    this.act = async (node, act) => {
      this.busy = node + act;
      this.trouble = "";
      try {
        const answer = await fetch(`/api/v1/demo/${encodeURIComponent(node)}/${act}`, { method: "POST", signal: AbortSignal.timeout(10_000) });
        if (!answer.ok) this.trouble = ((await answer.json()) as { detail?: string }).detail ?? String(answer.status);
        else note(say(`view.act.${act}`, node));
      } catch {
        this.trouble = say("view.unheard");
      }
      this.busy = "";
    };
    this.killLeader = () => (before ? this.act(before, "kill") : Promise.resolve());
    this.press = (button) => this.act(button.dataset["node"] ?? "", button.dataset["act"] ?? "");
  },

  async count(this: Page, say: (key: string, ...values: Array<string | number>) => string, number: Intl.NumberFormat) {
    try {
      const answer = await fetch("/demo/morning", { signal: AbortSignal.timeout(patience) });
      if (!answer.ok) return;
      const m = (await answer.json()) as Morning;
      if (!m.sent) return;
      const cell = (key: string, value: number | null): { key: string; label: string; value: string } => ({
        key,
        label: say(`view.proof.${key}`),
        value: value === null ? "…" : number.format(value),
      });
      this.proof = [
        cell("sent", m.sent),
        cell("accepted", m.accepted),
        cell("duplicate", m.duplicate),
        cell("waiting", m.waiting),
        cell("lost", m.lost), // nobody knows before the end
      ];
    } catch {
      // the next round asks again
    }
  },
  act: async (_node: string, _act: string): Promise<void> => undefined,
  killLeader: async (): Promise<void> => undefined,
  press: async (_button: HTMLElement): Promise<void> => undefined,
}));

interface Page {
  $el: HTMLElement;
  verdict: string;
  headline: string;
  detail: string;
  leaderText: string;
  loseText: string;
  stopwatch: string;
  cards: Shown[];
  opinions: Array<{ id: string; text: string }>;
  feed: Array<{ at: string; text: string }>;
  proof: Array<{ key: string; label: string; value: string }>;
  busy: string;
  trouble: string;
  act(node: string, act: string): Promise<void>;
  killLeader(): Promise<void>;
  press(button: HTMLElement): Promise<void>;
  count(say: (key: string, ...values: Array<string | number>) => string, number: Intl.NumberFormat): Promise<void>;
}

Alpine.start();
