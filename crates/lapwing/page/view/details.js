// One client, whole: what is known of it, and what it reported.
import { top } from "../logic/blocks.js";
import { shown } from "../logic/cause.js";
import { behind, bytes, clock, count, fine, name, short, span } from "../logic/form.js";
import { RunChart } from "./blocks.js";
import { unplaced } from "../logic/place.js";
import { copy, element, make, mark, named, setText } from "./dom.js";

const DRIFTS_MAX = 8;

export class Details {
  session;
  #dialog = element("details");
  #charts = new Map();
  #parts;
  #row;
  #facts = "";
  #does;

  // `onPin(client)`, `onClose(session)`.
  constructor(does) {
    this.#does = does;
    this.#dialog.addEventListener("close", () => {
      for (const chart of this.#charts.values()) chart.destroy();
      this.#charts.clear();
      const { session } = this;
      this.session = undefined;
      does.onClose(session);
    });
    // A click beside it closes it.
    this.#dialog.addEventListener("click", (event) => { if (event.target === this.#dialog) this.#dialog.close(); });
  }

  open(row) {
    if (row === undefined) return;
    [this.session, this.#row, this.#facts] = [row.session, row, ""];
    const parts = {
      title: make("h2", { id: "details-title" }), why: make("p"), facts: make("dl"), charts: make("div"),
      pin: make("button", { type: "button", onclick: () => this.#does.onPin(this.#row.client) }, "pin"),
      copy: make("button", { type: "button", onclick: () => this.#copy() }, "copy as JSON"),
      copied: make("div", { role: "status" }),
    };
    this.#parts = parts;
    this.#dialog.replaceChildren(parts.title, parts.why, parts.facts, parts.charts,
      make("div", { class: "tools" }, parts.pin, parts.copy, make("button", { type: "button", onclick: () => this.#dialog.close() }, "close")), parts.copied);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  // Closes it when the client is one of a server that is gone: another's rows have the same numbers.
  close() {
    this.session = undefined;
    this.#dialog.close();
  }

  draw({ rows, blocks, pins, nowMs, seenMs, outages, isStale }) {
    if (this.session === undefined) return;
    const row = rows.get(this.session);
    if (row !== undefined) this.#row = row;
    const known = this.#row;
    const cause = shown(known.cause);
    const isPinned = pins.has(known.client);
    const isGone = row === undefined;
    const facts = factsOf(known, blocks, seenMs);
    const state = isGone ? "it has left" : isStale ? "as it was when the server was lost"
      : `${known.cause}${Number.isFinite(known.behind_ms) && known.cause !== "silent" ? `, ${behind(known.behind_ms)} behind` : ""}`;
    const asText = JSON.stringify([facts, state, isPinned]);
    if (asText !== this.#facts) {
      this.#facts = asText;
      this.#parts.title.replaceChildren(named(known.client), " ", mark(cause), ` ${state}`);
      setText(this.#parts.why, known.why ?? cause.why);
      this.#parts.facts.replaceChildren(...facts.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]));
      setText(this.#parts.pin, isPinned ? "unpin" : "pin");
      this.#parts.pin.setAttribute("aria-pressed", String(isPinned));
    }
    this.#drawCharts(blocks.of(this.session), { row: known, isPinned: false, nowMs, outages });
  }

  #drawCharts(runs, view) {
    for (const run of runs) {
      if (this.#charts.has(run)) continue;
      const chart = new RunChart(run, undefined, 130);
      this.#charts.set(run, chart);
      this.#parts.charts.append(chart.figure);
    }
    for (const [run, chart] of this.#charts) chart.draw({ ...view, ceiling: top([run]) });
  }

  async #copy() {
    const json = JSON.stringify(unplaced(this.#row), null, 2);
    if (await copy(json)) {
      this.#parts.copied.replaceChildren("copied");
      return;
    }
    // A page that is not in the clear on this machine may not write to the clipboard: it shows what is to be copied.
    const field = make("textarea", { rows: "8", readonly: "", "aria-label": "JSON to copy" });
    field.value = json;
    this.#parts.copied.replaceChildren(field);
    field.select();
  }
}

function factsOf(row, blocks, nowMs) {
  const facts = [
    ["connection", [`${name(row.address)}`, row.mode, `since ${clock(row.since)}`, ...(row.server === undefined ? [] : [`on ${name(row.server)}`]), ...(row.who === undefined ? [] : [`token of ${name(row.who)}`])].join("   ")],
    ["sent", `${count(row.messages)} messages, ${bytes(row.bytes)}; waits ${bytes(row.waits_bytes)}`],
    ["round trip", Number.isFinite(row.rtt_ms)
      ? `${fine(row.rtt_ms)}, at best ${fine(row.rtt_min_ms)}; ${count(row.retransmits)} sent again` : "- the kernel has not said"],
  ];
  for (const topic of row.topics ?? []) {
    const reported = topic.block === undefined ? "no report yet"
      : `reported ${topic.reported}, ${span(nowMs - Date.parse(topic.reported_at))} ago, block ${topic.block} (${count(topic.block_size)} messages)`;
    const late = Number.isFinite(topic.behind_ms) ? `; ${behind(topic.behind_ms)} behind` : "";
    facts.push([name(topic.topic), `${topic.next > 0 ? `sent to ${topic.next - 1}` : "nothing sent"}, lag ${count(topic.lag)}; ${reported}${late}${topic.cause === undefined ? "" : `; ${topic.cause}`}`]);
    if (Number.isFinite(topic.latency_ms)) facts.push(["one-way", `${short(topic.latency_ms)} ± ${fine(topic.latency_error_ms)}`]);
    const drifts = (blocks.run(row.session, topic.topic)?.points ?? []).filter(({ drift }) => Number.isFinite(drift)).slice(-DRIFTS_MAX);
    if (drifts.length > 0) facts.push(["drift by report", drifts.map(({ drift }) => `${drift > 0 ? "+" : ""}${short(drift)}`).join("   ")]);
  }
  return facts;
}
