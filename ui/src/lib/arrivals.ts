// The day's counts, kept from the events of the stream. Rows wait in a short list
// and are put on the page once per frame at most.

export interface Row {
  id: number;
  user: number;
  kind: "in" | "out";
  at: string;
  node: string;
}

export interface Event {
  seq?: number;
  type?: string;
  node_id?: string;
  user_id?: number;
  data?: { type?: string; timestamp?: string; minute?: number };
}

export class Arrivals {
  readonly minutes: Map<number, number>;
  duplicates: number;
  reviews: number;
  private fresh: Row[] = [];
  missed = 0; // rows that never came to the page because others came after them

  constructor(minutes: Array<[number, number]>, duplicates: number, reviews: number, private readonly most: number) {
    this.minutes = new Map(minutes);
    this.duplicates = duplicates;
    this.reviews = reviews;
  }

  take(event: Event): void {
    switch (event.type) {
      case "attendance.duplicate":
        this.duplicates += 1;
        return;
      case "attendance.review":
        this.reviews += 1;
        return;
      case "attendance.accepted":
      case "review.accepted":
        break;
      default:
        return;
    }
    const { type, timestamp, minute } = event.data ?? {};
    if (event.seq === undefined || timestamp === undefined || (type !== "in" && type !== "out")) return;
    if (type === "in" && minute !== undefined) this.minutes.set(minute, (this.minutes.get(minute) ?? 0) + 1);
    this.fresh.push({ id: event.seq, user: event.user_id ?? 0, kind: type, at: timestamp, node: event.node_id ?? "" });
    if (this.fresh.length > this.most) {
      this.fresh.shift();
      this.missed += 1;
    }
  }

  /** drain gives the rows that are not on the page yet, oldest first. */
  drain(): Row[] {
    const rows = this.fresh;
    this.fresh = [];
    return rows;
  }

  get waiting(): number {
    return this.fresh.length + this.missed;
  }

  /** peak gives the busiest minute, the earliest of several. */
  peak(): { minute: number; count: number } | undefined {
    let best: { minute: number; count: number } | undefined;
    for (const [minute, count] of [...this.minutes].sort(([a], [b]) => a - b)) if (!best || count > best.count) best = { minute, count };
    return best;
  }

  /** series gives each minute from the first to the last, also those without anybody. */
  series(): [number[], number[]] {
    const known = [...this.minutes.keys()];
    if (known.length === 0) return [[], []];
    const [first, last] = [Math.min(...known), Math.max(...known)];
    const x = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    return [x, x.map((minute) => this.minutes.get(minute) ?? 0)];
  }
}
