// Work that is spread over frames, one piece in each, so that a page with many charts scrolls all the while.

export class Frames {
  #waiting = [];
  #isAsked = false;

  // Does these pieces in their order. What waits from the time before is out of date.
  spread(pieces) {
    this.#waiting = pieces;
    this.#ask();
  }

  #ask() {
    if (this.#isAsked || this.#waiting.length === 0) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      this.#waiting.shift()?.();
      this.#ask();
    });
  }
}
