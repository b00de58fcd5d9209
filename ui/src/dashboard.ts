// The day, live: counts, arrivals per minute and the newest arrivals. The page has
// a bounded number of rows, whatever comes in.
import Alpine from "@alpinejs/csp";
import uPlot from "uplot";
import { Arrivals, type Event, type Row } from "./lib/arrivals";
import { Clock } from "./lib/clock";
import { browser, keepUp, Stream } from "./lib/stream";
import { Words } from "./lib/words";

const rows = 50;
const redrawEvery = 1000;
const summaryEvery = 10_000;

interface Stats {
  people: { arrived: number; present: number; left: number };
}

Alpine.data("dashboard", () => ({
  arrived: 0,
  present: 0,
  left: 0,
  duplicates: 0,
  reviews: 0,
  peak: "",
  pauseText: "",
  summary: "",

  init(this: Page) {
    const data = this.$el.dataset;
    const words = new Words(data["words"] ?? "{}");
    const clock = new Clock(Number(data["now"]), performance.now(), { offset: Number(data["offset"]), name: data["zone"] ?? "" }, document.documentElement.lang);
    const arrivals = new Arrivals(JSON.parse(data["minutes"] ?? "[]") ?? [], Number(data["duplicates"]), Number(data["reviews"]), rows);
    [this.arrived, this.present, this.left] = [Number(data["arrived"]), Number(data["present"]), Number(data["left"])];
    const list = document.getElementById("arrivals") as HTMLElement;
    const names = new Map<number, string>();
    let paused = false;
    let recent = 0;
    let asked = 0;

    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    const place = document.getElementById("plot") as HTMLElement;
    const hour = (minute: number): string => clock.text(minute * 60_000 - Number(data["offset"]) * 60_000).slice(0, 5);
    const paths = uPlot.paths.bars?.({ size: [0.8, 40] });
    const bars = paths ? { paths } : {};
    const plot = new uPlot(
      {
        width: Math.max(280, place.clientWidth),
        height: 160,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          // At least half an hour wide, so that the first minutes are no blank. From the data: for
          // one minute alone, the range that is offered is a guess.
          x: {
            time: false,
            range: ({ data: [minutes] }) => {
              const last = minutes.at(-1) ?? clock.minute(clock.now(performance.now()));
              return [Math.min(minutes[0] ?? last, last - 25) - 2, last + 3];
            },
          },
          y: { range: (_, __, max) => [0, Math.max(4, (max ?? 0) * 1.1)] },
        },
        axes: [
          { stroke: color("--soft"), grid: { show: false }, values: (_, ticks) => ticks.map(hour) },
          { stroke: color("--soft"), grid: { stroke: color("--line") }, size: 36 },
        ],
        series: [{}, { stroke: color("--green"), fill: color("--green-soft"), width: 1, points: { show: false }, ...bars }],
      },
      arrivals.series(),
      place,
    );
    new ResizeObserver(() => plot.setSize({ width: Math.max(280, place.clientWidth), height: 160 })).observe(place);

    const name = async (user: number): Promise<void> => {
      if (names.has(user)) return;
      names.set(user, "");
      const answer = await fetch(`/api/v1/users/${user}`).catch(() => undefined);
      if (!answer?.ok) return void names.delete(user);
      names.set(user, ((await answer.json()) as { name: string }).name);
      for (const cell of list.querySelectorAll(`[data-user="${user}"]`)) cell.textContent = names.get(user) ?? "";
    };

    const item = (row: Row): HTMLElement => {
      const li = document.createElement("li");
      const part = (tag: string, className: string, text: string): HTMLElement => {
        const el = document.createElement(tag);
        if (className) el.className = className;
        el.textContent = text;
        li.append(el, " ");
        return el;
      };
      part("span", `kind ${row.kind}`, words.say(`board.${row.kind}`));
      part("time", "", clock.text(Date.parse(row.at))).setAttribute("datetime", row.at);
      part("span", "name", names.get(row.user) ?? "").dataset["user"] = String(row.user);
      part("span", "small", row.node);
      void name(row.user);
      return li;
    };

    // One change of the page per frame, whatever has come in since.
    let scheduled = false;
    const draw = (): void => {
      scheduled = false;
      this.duplicates = arrivals.duplicates;
      this.reviews = arrivals.reviews;
      if (paused) {
        this.pauseText = words.say("board.resume", arrivals.waiting);
        return;
      }
      arrivals.missed = 0;
      list.prepend(...arrivals.drain().map(item).reverse());
      while (list.children.length > rows) list.lastElementChild?.remove();
    };
    const count = async (): Promise<void> => {
      const answer = await fetch("/api/v1/stats/today").catch(() => undefined);
      if (!answer?.ok) return;
      const { people } = (await answer.json()) as Stats;
      [this.arrived, this.present, this.left] = [people.arrived, people.present, people.left];
    };
    const redraw = (): void => {
      plot.setData(arrivals.series());
      const peak = arrivals.peak();
      this.peak = peak ? words.say("board.peak", hour(peak.minute), peak.count) : words.say("board.quiet");
      if (recent > asked) {
        asked = recent;
        void count(); // people are counted by the server: a second tap is no second person
      }
      setTimeout(redraw, redrawEvery);
    };

    this.pause = () => {
      paused = !paused;
      this.pauseText = words.say(paused ? "board.resume" : "board.pause", arrivals.waiting);
      draw();
    };
    this.pauseText = words.say("board.pause");
    let before = 0;
    setInterval(() => {
      this.summary = recent > before ? words.count("board.summary", recent - before, recent - before) : "";
      before = recent;
    }, summaryEvery);
    draw();
    redraw();

    keepUp(
      new Stream(["attendance"], { epoch: data["epoch"] ?? "", seq: Number(data["seq"]) }, {
        event: (frame) => {
          recent += 1;
          arrivals.take(frame as Event);
          if (scheduled) return;
          scheduled = true;
          requestAnimationFrame(draw);
        },
        reset: () => location.reload(),
      }, browser()),
    );
    const day = clock.day(clock.now(performance.now()));
    setInterval(() => clock.day(clock.now(performance.now())) !== day && location.reload(), redrawEvery);
  },
  pause(): void {},
}));

interface Page {
  $el: HTMLElement;
  arrived: number;
  present: number;
  left: number;
  duplicates: number;
  reviews: number;
  peak: string;
  pauseText: string;
  summary: string;
  pause(): void;
}

Alpine.start();
