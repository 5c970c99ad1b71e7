// The topics: whether their sources do what was asked, and how much is kept.
import { bytes, count, rate, span } from "../logic/form.js";
import { topicState } from "../logic/verdict.js";
import { element, make, mark, setText } from "./dom.js";

const ROWS_MAX = 20;

export class Topics {
  #rows = new Map();

  constructor(onSearch) {
    element("topics-search").addEventListener("input", onSearch);
  }

  // Topics as `/api/topics` has them.
  draw(topics) {
    element("topics-find").hidden = topics.length <= ROWS_MAX;
    const wanted = element("topics-search").value.trim().toLowerCase();
    const found = topics.filter(({ topic }) => topic.toLowerCase().includes(wanted));
    // The busiest are picked; those that are listed stand by name, so that they stay where they are.
    const busiest = found.length <= ROWS_MAX ? found : [...found].sort((a, b) => b.achieved_per_s - a.achieved_per_s);
    const listed = busiest.slice(0, ROWS_MAX).sort((a, b) => (a.topic < b.topic ? -1 : 1));
    const rest = busiest.slice(ROWS_MAX);
    setText(element("topics-more"), rest.length === 0 ? "" :
      `and ${count(rest.length)} more: ${rate(sum(rest, "achieved_per_s"))} messages/s, ${bytes(sum(rest, "bytes_per_s"))}/s`);
    const body = element("topics");
    if (listed.length === 0) {
      this.#rows.clear();
      const text = topics.length === 0 ? "This server has no topics." : "No topic has that in its name.";
      if (body.textContent !== text) body.replaceChildren(make("tr", {}, make("td", { class: "empty", colspan: "5" }, text)));
      return;
    }
    const names = listed.map(({ topic }) => topic).join();
    for (const topic of listed) this.#row(topic);
    if (body.dataset.names !== names || this.#rows.get(listed[0].topic).row.parentNode !== body) {
      body.dataset.names = names;
      body.replaceChildren(...listed.map(({ topic }) => this.#rows.get(topic).row));
    }
  }

  #row(topic) {
    let known = this.#rows.get(topic.topic);
    if (known === undefined) {
      known = {
        state: make("td"), rate: make("td", { class: "number" }), bytes: make("td", { class: "number bytes" }),
        age: make("span"), meter: make("span"), size: make("span"), shown: undefined,
      };
      known.keeps = make("td", {}, known.age, make("span", { class: "meter", "aria-hidden": "true" }, known.meter), known.size);
      known.row = make("tr", {}, make("td", {}, topic.topic), known.state, known.rate, known.bytes, known.keeps);
      this.#rows.set(topic.topic, known);
    }
    const state = topic.state === undefined ? { mark: "-", colour: "muted", word: "" } : topicState(topic.state);
    if (known.shown !== state.word) {
      known.state.replaceChildren(mark(state), ` ${state.word}`);
      known.shown = state.word;
    }
    known.row.title = topic.source ?? "";
    setText(known.rate, topic.asked_per_s === undefined ? rate(topic.achieved_per_s) : `${rate(topic.achieved_per_s)} of ${rate(topic.asked_per_s)}`);
    setText(known.bytes, bytes(topic.bytes_per_s));
    const kept = topic.retained;
    known.keeps.hidden = kept === undefined;
    if (kept === undefined) return;
    setText(known.age, kept.age_max_ms === undefined ? "" : keptFor(kept.age_max_ms));
    known.meter.style.width = `${Math.min(100, (100 * kept.bytes) / kept.bytes_max)}%`;
    setText(known.size, `${bytes(kept.bytes)} of ${bytes(kept.bytes_max)}`);
  }
}

// As it is asked for: 60 s, not 1 m 0 s.
function keptFor(ms) {
  return ms <= 120_000 ? `${ms / 1000} s` : span(ms);
}

function sum(topics, key) {
  return topics.reduce((total, topic) => total + (topic[key] ?? 0), 0);
}
