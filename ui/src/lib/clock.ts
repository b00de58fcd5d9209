// The server's clock, in the site's zone. It runs on the page's monotonic clock:
// a phone whose own clock is wrong shows the right time all the same.

export interface Zone {
  offset: number; // minutes east of UTC
  name: string; // WIB, WITA, WIT, or such as UTC+07:00
}

export class Clock {
  constructor(
    private server: number, // the server's time, in milliseconds
    private monotonic: number, // of performance.now() at the same moment
    private readonly zone: Zone,
    private readonly lang: string,
  ) {}

  /** set takes a newer reading of the server's time. */
  set(server: number, monotonic: number): void {
    [this.server, this.monotonic] = [server, monotonic];
  }

  /** now gives the server's time at a moment of performance.now(). */
  now(monotonic: number): number {
    return this.server + (monotonic - this.monotonic);
  }

  /** text gives a time of day with its zone, such as 06.58.14 WIB. */
  text(ms: number, fraction = false): string {
    const local = new Date(ms + this.zone.offset * 60_000).toISOString();
    const [point, comma] = this.lang === "id" ? [".", ","] : [":", "."];
    const time = local.slice(11, 19).replaceAll(":", point) + (fraction ? comma + local.slice(20, 23) : "");
    return fraction ? time : `${time} ${this.zone.name}`;
  }

  /** minute gives the local minute of the day. */
  minute(ms: number): number {
    const local = new Date(ms + this.zone.offset * 60_000);
    return local.getUTCHours() * 60 + local.getUTCMinutes();
  }

  /** day gives the local date, to notice that another day has begun. */
  day(ms: number): string {
    return new Date(ms + this.zone.offset * 60_000).toISOString().slice(0, 10);
  }
}
