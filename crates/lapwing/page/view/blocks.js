// Block times: a small chart for each client that is pinned or slow, and one strip for all others.
import { CHARTS_MAX, KEPT_MS, STRIP_COLUMNS, STRIP_RATIOS, columns, top } from "../logic/blocks.js";
import { shown } from "../logic/cause.js";
import { clock, count, counted, name, pair, short } from "../logic/form.js";
import { SORT_EVERY_MS } from "../logic/order.js";
import { Chart, chartPlace } from "./chart.js";
import { element, make, mark, named, setAttribute, setText } from "./dom.js";
import { Frames } from "./frames.js";
import { colour, onTheme } from "./theme.js";

const ROWS_MAX = 30;
// One below the other they would push all else out of sight.
const CHARTS_MAX_NARROW = 4;
const narrow = matchMedia("(max-width: 48rem)");

export class BlockCharts {
  #charts = new Map();
  #grid = make("div", { class: "charts" });
  #empty = make("p", { class: "empty" }, "Nobody has reported a block yet.");
  #strip;
  #frames = new Frames();
  #chosen = { asked: "", at: 0, runs: [] };
  #onOpen;

  constructor(onOpen) {
    this.#onOpen = onOpen;
    this.#strip = new Strip();
    element("blocks-body").append(this.#empty, this.#grid, this.#strip.figure);
  }

  // `waiting`: what is said while there is nothing to draw.
  draw({ blocks, rows, pins, nowMs, outages, waiting }) {
    const most = narrow.matches ? CHARTS_MAX_NARROW : CHARTS_MAX;
    const runs = this.#choose(blocks, rows, pins, most);
    setText(element("blocks-note"), `last 5 min, one scale: pinned and slowest, at most ${most}`);
    this.#empty.hidden = runs.length > 0;
    setText(this.#empty, waiting);
    const wanted = new Set(runs);
    for (const [run, chart] of this.#charts) {
      if (wanted.has(run)) continue;
      chart.destroy();
      this.#charts.delete(run);
    }
    for (const run of runs) if (!this.#charts.has(run)) this.#charts.set(run, new RunChart(run, () => this.#onOpen(run.session)));
    // The pinned first, then in the order in which they came, so that none moves when another overtakes it.
    const figures = [...this.#charts].sort(([a], [b]) => pins.has(b.client) - pins.has(a.client)).map(([, { figure }]) => figure);
    if (figures.some((figure, place) => this.#grid.children[place] !== figure) || this.#grid.children.length !== figures.length) {
      this.#grid.replaceChildren(...figures);
    }
    const ceiling = top(runs);
    this.#frames.spread([
      ...[...this.#charts].map(([run, chart]) => () =>
        chart.draw({ row: rows.get(run.session), isPinned: pins.has(run.client), nowMs, outages, ceiling })),
      () => this.#strip.draw(blocks.density(nowMs, new Set(runs.map(({ session }) => session))), runs.length > 0),
    ]);
  }

  // Charts change as rare as rows are sorted, so that a reader can look at one; at once when another is pinned or one has gone.
  #choose(blocks, rows, pins, most) {
    const asked = JSON.stringify([most, ...pins]);
    const isThere = (run) => rows.has(run.session) && blocks.run(run.session, run.topic) === run;
    const [kept, now] = [this.#chosen, Date.now()];
    if (asked === kept.asked && now - kept.at < SORT_EVERY_MS && kept.runs.length > 0 && kept.runs.every(isThere)) return kept.runs;
    this.#chosen = { asked, at: now, runs: blocks.chosen(rows, pins, most) };
    return this.#chosen.runs;
  }
}

// The chart of one client and topic.
export class RunChart {
  #run;
  #chart;
  #place;
  #mark = make("span");
  #pinned = make("span", { class: "muted" });
  #said = make("span", { class: "note" });

  constructor(run, onOpen, height = 96) {
    this.#run = run;
    const title = onOpen === undefined ? make("span", {}, run.topic)
      : make("span", {}, make("button", { type: "button", class: "plain", onclick: onOpen }, named(run.client)), " ", make("span", { class: "muted" }, run.topic));
    this.#place = chartPlace([make("figcaption", {}, this.#mark, title, this.#pinned, this.#said)], () => runTable(run));
    this.#chart = new Chart(this.#place.canvas, {
      height, ticks: 24, sync: "blocks", format: short,
      lines: [{ colour: "text", width: 2 }, { colour: "muted", width: 1, isStep: true }],
    });
  }

  get figure() {
    return this.#place.figure;
  }

  draw({ row, isPinned, nowMs, outages, ceiling }) {
    const cause = shown(row?.cause);
    const to = nowMs / 1000;
    const from = to - KEPT_MS / 1000;
    const data = columns(this.#run, outages);
    const last = this.#run.points.findLast(({ elapsed }) => elapsed !== null);
    const known = data[1].filter((value) => value !== null);
    if (this.#mark.textContent !== cause.mark || this.#mark.firstChild?.className !== `mark ${cause.colour}`) this.#mark.replaceChildren(mark(cause));
    setText(this.#pinned, isPinned ? "pinned" : "");
    const before = row?.cause === "silent" ? "silent, last " : "";
    setText(this.#said, last === undefined ? "no block that counts yet" : `${before}${pair(last.elapsed, last.server ?? undefined)}`);
    setAttribute(this.#place.canvas, "aria-label", last === undefined
      ? `Block times of ${name(this.#run.client)}, ${this.#run.topic}: no block that counts yet`
      : `Block times of ${name(this.#run.client)}, ${this.#run.topic}: last ${pair(last.elapsed, last.server ?? undefined)}, ` +
        `between ${short(Math.min(...known))} and ${short(Math.max(...known))} in 5 min; ${row?.cause ?? "gone"}`);
    this.#chart.draw({ columns: data, from, to, top: ceiling, hatched: outages, band: cause.colour, stroke: { text: cause.colour } });
  }

  destroy() {
    this.#chart.destroy();
  }
}

// The newest reports of one client and topic.
function runTable(run) {
  return {
    columns: ["at", "block", "client", "source", "drift", "flags"],
    rows: run.points.slice(-ROWS_MAX).reverse().map((point) => [
      clock(point.at), String(point.block), point.elapsed === null ? "-" : short(point.elapsed), point.server === null ? "-" : short(point.server),
      Number.isFinite(point.drift) ? short(point.drift) : "-", point.flags.join(", "),
    ]),
    empty: "No reports in the last 5 min.",
  };
}

// All other clients in one picture: when, and how many times the source's own time; the darker, the more reports.
class Strip {
  #canvas = make("canvas", { role: "img" });
  #said = make("span", { class: "note" });
  #cells;
  #place;

  constructor() {
    this.#place = chartPlace([make("figcaption", {}, make("span", {}, "All others: block time by the source's own"), this.#said)], () => this.#table());
    this.#place.canvas.replaceWith(this.#canvas);
    this.#place.figure.className = "strip";
    new ResizeObserver(() => this.#paint()).observe(this.#canvas);
    onTheme(() => this.#paint());
  }

  get figure() {
    return this.#place.figure;
  }

  draw({ cells, clients }, isThere) {
    this.figure.hidden = !isThere || clients === 0;
    if (this.figure.hidden) return;
    this.#cells = cells;
    const total = cells.flat().reduce((sum, value) => sum + value, 0);
    const slow = cells.flatMap((column) => column.slice(LATE_ROW)).reduce((sum, value) => sum + value, 0);
    const words = `${counted(clients, "client")}, ${counted(total, "report")}; ${count(slow)} at 1.5 times the source's time or more`;
    setText(this.#said, words);
    setAttribute(this.#canvas, "aria-label", `All others, last 5 min: ${words}`);
    this.#paint();
  }

  #paint() {
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    if (this.#cells === undefined || width === 0) return;
    const ratio = devicePixelRatio;
    [this.#canvas.width, this.#canvas.height] = [width * ratio, height * ratio];
    const ctx = this.#canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    const most = Math.max(1, ...this.#cells.flat());
    const left = 58;
    const [cellWidth, cellHeight] = [(width - left - 8) / STRIP_COLUMNS, height / STRIP_RATIOS.length];
    ctx.font = "11px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    STRIP_RATIOS.forEach((from, row) => {
      const y = height - (row + 1) * cellHeight;
      ctx.fillStyle = colour("muted");
      ctx.globalAlpha = 1;
      ctx.fillText(LABELS[row], 0, y + cellHeight / 2);
      ctx.fillStyle = colour(row >= LATE_ROW ? "client" : "good");
      this.#cells.forEach((column, place) => {
        if (column[row] === 0) return;
        // By the logarithm, or one crowd would hide the single ones.
        ctx.globalAlpha = 0.25 + 0.75 * (Math.log1p(column[row]) / Math.log1p(most));
        ctx.fillRect(left + place * cellWidth, y + 1, Math.max(1, cellWidth - 1), cellHeight - 2);
      });
    });
  }

  #table() {
    const minutes = [0, 1, 2, 3, 4].map((minute) => {
      const columnsOf = this.#cells?.slice(minute * 12, minute * 12 + 12) ?? [];
      return [`${5 - minute} to ${4 - minute} min ago`, ...STRIP_RATIOS.map((_, row) => count(columnsOf.reduce((sum, column) => sum + column[row], 0)))];
    });
    return { columns: ["reports", ...LABELS], rows: minutes, empty: "" };
  }
}
const LABELS = ["less", "on time", "1.1 x", "1.5 x", "2 x", "4 x", "8 x"];
const LATE_ROW = 3;
