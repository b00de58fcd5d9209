/** Words are the page's, in its language; {0}, {1}, … stand for values. */
export class Words {
  private readonly table: Record<string, string>;

  constructor(json: string) {
    this.table = JSON.parse(json) as Record<string, string>;
  }

  say(key: string, ...values: Array<string | number>): string {
    const text = this.table[key];
    if (text === undefined) throw new Error(`no words for ${key}`);
    return text.replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ""));
  }
}
