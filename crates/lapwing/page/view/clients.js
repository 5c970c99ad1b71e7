// The table of clients: only rows in sight are in the document, and none moves under pointer or focus.
import { shown } from "../logic/cause.js";
import { lag, ratio, reports, silentMs, worst } from "../logic/client.js";
import { placeFrom } from "../logic/place.js";
import { UNKNOWN, age, behind, bytes, count, cut, fine, pair, short, span } from "../logic/form.js";
import { element, make, mark, named, setAttribute, setClass, setText } from "./dom.js";

const COLUMNS = [
  ["name", "name"], ["cause", "cause"], ["behind", "behind", "number"], ["block", "last block against source"],
  ["lag", "lag", "number"], ["rtt", "rtt", "number"], ["waits", "waits", "number"], ["since", "since", "number"], ["server", "server"],
];
// Rows beyond the sight, so that a short scroll finds them.
const SPARE_ROWS = 6;
// A longer one would push the numbers out of a narrow row.
const TOPIC_CHARACTERS_MAX = 24;
// A bar's end: the source's own time stands at a third of it.
const RATIO_MAX = 3;

export class Clients {
  #scroller = element("rows");
  #body = element("clients-rows");
  #made = new Map();
  #spaces = [];
  #current;
  #pointer = false;
  #view = { sessions: [], rows: new Map(), pins: new Set(), nowMs: 0, isStale: false, sort: "behind", turned: false };
  #does;

  // `onOpen(session)`, `onSort(column)`.
  constructor(does) {
    this.#does = does;
    element("columns").replaceChildren(...COLUMNS.map(([column, label, extra]) =>
      make("th", { role: "columnheader", scope: "col", class: `c-${column} ${extra ?? ""}` },
        make("button", { type: "button", onclick: () => does.onSort(column) }, label))));
    let isAsked = false;
    this.#scroller.addEventListener("scroll", () => {
      if (isAsked) return;
      isAsked = true;
      requestAnimationFrame(() => { isAsked = false; this.#render(); });
    }, { passive: true });
    new ResizeObserver(() => this.#render()).observe(this.#scroller);
    this.#body.addEventListener("pointerenter", (event) => { this.#pointer = event.pointerType !== "touch"; });
    this.#body.addEventListener("pointerleave", () => { this.#pointer = false; });
    this.#body.addEventListener("focusin", (event) => {
      const session = placeFrom(event.target.closest("tr")?.dataset.session);
      if (session !== this.#current) {
        this.#current = session;
        this.#render();
      }
    });
    this.#body.addEventListener("click", (event) => {
      const session = event.target.closest("tr")?.dataset.session;
      if (session !== undefined) does.onOpen(placeFrom(session));
    });
  }

  // Asked of the document: of a row that is taken away nobody tells that the focus has left it.
  get #focus() {
    return this.#body.contains(document.activeElement);
  }

  // Whether rows must stay where they are.
  get isHeld() {
    return this.#focus || this.#pointer;
  }

  // The session of the row with the focus.
  get current() {
    return this.#focus ? this.#current : undefined;
  }

  draw(view) {
    this.#view = view;
    const table = this.#scroller.querySelector("table");
    setAttribute(table, "aria-rowcount", view.sessions.length + 1);
    for (const [place, [column]] of COLUMNS.entries()) {
      const head = element("columns").children[place];
      const sorted = column !== view.sort ? "none" : isDescending(column) === view.turned ? "ascending" : "descending";
      setAttribute(head, "aria-sort", sorted);
    }
    this.#render();
  }

  // Moves the focus by so many rows.
  step(by) {
    const { sessions } = this.#view;
    if (sessions.length === 0) return;
    const place = sessions.indexOf(this.#current);
    const next = !this.#focus || place < 0 ? Math.max(0, place) : Math.min(sessions.length - 1, Math.max(0, place + by));
    this.#current = sessions[next];
    this.#show(next);
    this.#render();
    this.#made.get(this.#current)?.name.focus({ preventScroll: true });
  }

  // Brings the focus back to a row, if it is there.
  focus(session) {
    const place = this.#view.sessions.indexOf(session);
    if (place < 0) return;
    this.#current = session;
    this.#show(place);
    this.#render();
    this.#made.get(session)?.name.focus({ preventScroll: true });
  }

  #show(place) {
    const [height, head] = [this.#rowHeight(), this.#headHeight()];
    const [top, bottom] = [place * height, (place + 1) * height];
    if (top < this.#scroller.scrollTop) this.#scroller.scrollTop = top;
    else if (bottom > this.#scroller.scrollTop + this.#scroller.clientHeight - head) this.#scroller.scrollTop = bottom - this.#scroller.clientHeight + head;
  }

  #rowHeight() {
    return Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 36;
  }

  #headHeight() {
    return element("columns").offsetHeight;
  }

  #render() {
    const { sessions } = this.#view;
    const height = this.#rowHeight();
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(sessions.length, Math.ceil((this.#scroller.scrollTop + this.#scroller.clientHeight) / height) + SPARE_ROWS);
    const places = [];
    for (let place = first; place < last; place += 1) places.push(place);
    // The row with the focus stays, or the focus would be lost with it.
    const current = sessions.indexOf(this.#current);
    if (this.#focus && current >= 0 && current < first) places.unshift(current);
    if (this.#focus && current >= last) places.push(current);
    // One row can always be reached with Tab.
    const tabbable = places.includes(current) ? current : places.find((place) => place >= this.#scroller.scrollTop / height) ?? places[0];
    const wanted = [];
    let [at, spaces] = [0, 0];
    const space = (rows) => {
      if (rows === 0) return;
      this.#spaces[spaces] ??= make("tr", { class: "space", "aria-hidden": "true" }, make("td"));
      this.#spaces[spaces].firstChild.style.height = `${rows * height}px`;
      wanted.push(this.#spaces[spaces]);
      spaces += 1;
    };
    for (const place of places) {
      space(place - at);
      wanted.push(this.#row(sessions[place], place, place === tabbable));
      at = place + 1;
    }
    space(sessions.length - at);
    const keep = new Set(wanted);
    for (const row of [...this.#body.children]) {
      if (keep.has(row)) continue;
      row.remove();
      if (row.dataset.session !== undefined) this.#made.delete(placeFrom(row.dataset.session));
    }
    // No row that is there already is moved past another: that would take the focus from it.
    let there = this.#body.firstChild;
    for (const row of wanted) {
      if (row === there) there = there.nextSibling;
      else this.#body.insertBefore(row, there);
    }
  }

  #row(session, place, isTabbable) {
    const made = this.#made.get(session) ?? this.#newRow(session);
    const row = this.#view.rows.get(session);
    setAttribute(made.row, "aria-rowindex", place + 2);
    made.name.tabIndex = isTabbable ? 0 : -1;
    if (row === undefined) {
      setClass(made.row, "row left");
      setText(made.cause, "left");
      return made.row;
    }
    this.#fill(made, row);
    return made.row;
  }

  #newRow(session) {
    const cell = (column, extra = "") => make("td", { role: "cell", class: `c-${column} ${extra}` });
    const made = {
      mark: make("span"), name: make("button", { type: "button", class: "name", tabindex: "-1", "aria-haspopup": "dialog" }), pin: make("span", { class: "pin" }),
      server: cell("server"), cause: cell("cause"), behind: cell("behind", "number"), block: cell("block"), lag: cell("lag", "number"),
      rtt: cell("rtt", "number"), waits: cell("waits", "number"), since: cell("since", "number"),
      own: make("span", { class: "own" }), over: make("span", { class: "over" }), beyond: make("span", { class: "beyond" }), blockText: make("span"), topic: make("span", { class: "muted topic" }), called: undefined,
    };
    const name = cell("name");
    name.append(made.mark, made.name, made.pin);
    made.bar = make("span", { class: "bar", "aria-hidden": "true" }, made.own, made.over, made.beyond);
    made.block.append(made.bar, made.blockText, made.topic);
    made.row = make("tr", { role: "row", class: "row", "data-session": String(session) },
      name, made.cause, made.behind, made.block, made.lag, made.rtt, made.waits, made.since, made.server);
    this.#made.set(session, made);
    return made;
  }

  #fill(made, row) {
    const { nowMs, isStale, pins } = this.#view;
    const cause = shown(row.cause);
    const topic = worst(row);
    setClass(made.row, "row");
    if (made.called !== row.client) {
      made.called = row.client;
      made.name.replaceChildren(named(row.client));
    }
    if (made.mark.textContent !== cause.mark) made.mark.replaceChildren(mark(cause));
    setText(made.pin, pins.has(row.client) ? " pinned" : "");
    if (made.on !== row.server) {
      made.on = row.server;
      made.server.replaceChildren(named(row.server ?? ""));
    }
    setText(made.cause, row.cause);
    setAttribute(made.cause, "title", row.why ?? cause.why);
    setText(made.behind, isStale || row.cause === "silent" ? UNKNOWN : behind(row.behind_ms));
    setText(made.blockText, blockWords(row, topic, nowMs));
    setAttribute(made.block, "title", topic?.block === undefined ? "" : topic.topic);
    setText(made.topic, topic?.block === undefined || row.cause === "silent" ? "" : ` ${cut(topic.topic, TOPIC_CHARACTERS_MAX)}`);
    const times = ratio(row);
    made.bar.hidden = times === undefined || row.cause === "silent";
    if (!made.bar.hidden) {
      setClass(made.bar, `bar ${cause.colour}`);
      made.own.style.width = `${(100 / RATIO_MAX) * Math.min(1, times)}%`;
      made.over.style.width = `${(100 / RATIO_MAX) * Math.min(RATIO_MAX - 1, Math.max(0, times - 1))}%`;
      setText(made.beyond, times > RATIO_MAX ? "▸" : "");
    }
    setText(made.lag, lag(row) === undefined ? UNKNOWN : count(lag(row)));
    setText(made.rtt, fine(row.rtt_ms));
    setText(made.waits, bytes(row.waits_bytes));
    setText(made.since, age(nowMs - Date.parse(row.since)));
  }
}

function blockWords(row, topic, nowMs) {
  if (row.cause === "silent") {
    const ms = silentMs(row, nowMs);
    return ms === undefined ? "- nothing was heard" : `- no report for ${span(ms)}`;
  }
  if (!reports(row)) return "- no reports";
  if (!Number.isFinite(topic.elapsed_ms)) return "- no block that counts yet";
  // The source's own time for it was let go with the messages: it is as far behind as that.
  return Number.isFinite(topic.server_ms) ? pair(topic.elapsed_ms, topic.server_ms) : `${short(topic.elapsed_ms)} of - (not kept)`;
}

// Whether a column, sorted as it is first asked for, has its largest on top.
function isDescending(column) {
  return column !== "name" && column !== "server" && column !== "cause";
}

