// When the page heard nothing: such times are hatched in every chart, and no line bridges them.

const OUTAGES_MAX = 100;

export class Outages {
  #past = [];
  #since;

  // From now on nothing is heard.
  begin(second) {
    this.#since ??= second;
  }

  // Something is heard again.
  end(second) {
    if (this.#since === undefined) return;
    this.#past.push([this.#since, second]);
    if (this.#past.length > OUTAGES_MAX) this.#past.shift();
    this.#since = undefined;
  }

  // The times between two seconds, cut to them.
  within(from, to) {
    const all = this.#since === undefined ? this.#past : [...this.#past, [this.#since, to]];
    return all.map(([a, b]) => [Math.max(a, from), Math.min(b, to)]).filter(([a, b]) => b > a);
  }
}
