// What a screen reader hears: changes of state, at most one sentence in ten seconds.

export const EVERY_MS = 10_000;

export class Announcer {
  #next;
  #skipped = 0;
  #saidAt = -Infinity;

  // Something changed; what is not told in time is replaced by what came later.
  change(sentence) {
    if (this.#next !== undefined) this.#skipped += 1;
    this.#next = sentence;
  }

  // What is to be told now, if anything.
  due(nowMs) {
    if (this.#next === undefined || nowMs - this.#saidAt < EVERY_MS) return undefined;
    const sentence = this.#skipped === 0 ? this.#next : `${this.#next} (${this.#skipped} ${this.#skipped === 1 ? "change" : "changes"} before this.)`;
    [this.#next, this.#skipped, this.#saidAt] = [undefined, 0, nowMs];
    return sentence;
  }
}
