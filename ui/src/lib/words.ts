/** Words are the page's, in its language; {0}, {1}, … stand for values. */
export class Words {
  private readonly table: Record<string, string>;

  constructor(json: string) {
    this.table = JSON.parse(json) as Record<string, string>;
  }

  /** count is say with the words for exactly one, where the language has such. */
  count(key: string, n: number, ...values: Array<string | number>): string {
    const one = `${key}.one`;
    return this.say(n === 1 && this.table[one] !== undefined ? one : key, ...values);
  }

  say(key: string, ...values: Array<string | number>): string {
    const text = this.table[key];
    if (text === undefined) throw new Error(`no words for ${key}`);
    return text.replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ""));
  }
}
