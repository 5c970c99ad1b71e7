// Which clients are listed: the search, and three filters with their counts.
import { count } from "../logic/form.js";
import { element, make, setAttribute, setText } from "./dom.js";

const LABELS = new Map([["all", "all"], ["slow", "not keeping up"], ["quiet", "no reports"]]);

export class Filters {
  #buttons = new Map();

  // `onFilter(filter)`, `onSearch(text)`.
  constructor({ onFilter, onSearch }) {
    for (const filter of LABELS.keys()) {
      const button = make("button", { type: "button", onclick: () => onFilter(filter) });
      this.#buttons.set(filter, button);
      element("filters").append(button);
    }
    element("search").addEventListener("input", (event) => onSearch(event.target.value));
  }

  // `counts` by filter; undefined where it is not known.
  draw({ filter, search, counts }) {
    for (const [known, button] of this.#buttons) {
      setText(button, counts[known] === undefined ? LABELS.get(known) : `${LABELS.get(known)} ${count(counts[known])}`);
      setAttribute(button, "aria-pressed", known === filter);
    }
    if (element("search") !== document.activeElement && element("search").value !== search) element("search").value = search;
  }
}
