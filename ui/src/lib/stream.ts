// One connection to the stream, kept up: it comes back within 400 ms on whatever
// node answers, and goes on after the last event that it has seen.
import { wait } from "./backoff";

export interface Frame {
  t: string;
  seq?: number;
  [field: string]: unknown;
}

export interface Position {
  epoch: string;
  seq: number;
}

/** Socket is the part of WebSocket that is used. */
export interface Socket {
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  close(): void;
}

export interface Deps {
  open(url: string): Socket;
  random(): number;
  later(ms: number, work: () => void): () => void; // gives what calls it off
  hidden(): boolean;
}

export interface Watcher {
  /** event gets each numbered event once, in order. */
  event?(frame: Frame): void;
  /** other gets every other frame. */
  other?(frame: Frame): void;
  /** reset says that events were missed for good: fetch, then go on. */
  reset?(reason: string): void;
  /** up says whether the connection stands, and through which node. */
  up?(node: string | undefined): void;
}

const longest = 2000;
const forbidden = 4003;

export class Stream {
  private socket: Socket | undefined;
  private callOff: (() => void) | undefined;
  private failed = 0;
  private ended = false;

  constructor(
    private readonly topics: string[],
    private position: Position | undefined,
    private readonly watcher: Watcher,
    private readonly deps: Deps,
  ) {}

  /** start connects, and connects again whenever the connection is lost. */
  start(): void {
    if (this.ended || this.socket) return;
    this.callOff?.();
    this.callOff = undefined;
    const query = new URLSearchParams({ topics: this.topics.join(",") });
    if (this.position) {
      query.set("epoch", this.position.epoch);
      query.set("after", String(this.position.seq));
    }
    const socket = this.deps.open(`/api/v1/stream?${query.toString()}`);
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.socket === socket) this.take(data);
    };
    socket.onclose = ({ code }) => {
      if (this.socket !== socket) return;
      this.socket = undefined;
      this.watcher.up?.(undefined);
      this.lost(code);
    };
  }

  /** wake tries at once, for a page that is seen again or a phone that is back online. */
  wake(): void {
    this.failed = 0;
    this.start();
  }

  /** stop is for good. */
  stop(): void {
    this.ended = true;
    this.callOff?.();
    this.socket?.close();
  }

  private lost(code: number): void {
    if (this.ended || code === forbidden) {
      this.ended = true;
      return;
    }
    if (this.deps.hidden()) return; // wake comes when somebody looks
    this.callOff = this.deps.later(wait(this.failed++, longest, this.deps.random()), () => this.start());
  }

  private take(data: unknown): void {
    if (typeof data !== "string") return;
    const frame = JSON.parse(data) as Frame;
    switch (frame.t) {
      case "hello":
        this.failed = 0;
        this.hello(frame);
        return;
      case "event":
      case "mark":
        if (frame.seq === undefined || (this.position && frame.seq <= this.position.seq)) return;
        if (this.position) this.position.seq = frame.seq;
        if (frame.t === "event") this.watcher.event?.(frame);
        return;
      default:
        this.watcher.other?.(frame);
    }
  }

  private hello(frame: Frame): void {
    const epoch = String(frame["epoch"]);
    const first = this.position === undefined;
    if (first || frame["resume"] !== "ok") {
      this.position = { epoch, seq: frame.seq ?? 0 };
      if (!first) this.watcher.reset?.(String(frame["reason"] ?? ""));
    }
    this.watcher.up?.(String(frame["node"] ?? ""));
  }
}

/** browser gives what a page has. */
export function browser(): Deps {
  return {
    open: (url) => {
      const socket: Socket = { onmessage: null, onclose: null, close: () => wire.close() };
      const wire = new WebSocket(new URL(url, location.href.replace(/^http/, "ws")));
      wire.onmessage = (event) => socket.onmessage?.({ data: event.data });
      wire.onclose = (event) => socket.onclose?.({ code: event.code });
      return socket;
    },
    random: () => Math.random(),
    later: (ms, work) => {
      const id = setTimeout(work, ms);
      return () => clearTimeout(id);
    },
    hidden: () => document.hidden,
  };
}

/** keepUp wakes a stream whenever it is worth a try. */
export function keepUp(stream: Stream): void {
  stream.start();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) stream.wake();
  });
  addEventListener("online", () => stream.wake());
  addEventListener("pageshow", () => stream.wake());
}
