// A chart over time, drawn by uPlot: lines that break where nothing was heard, and hatching there.
import { clock } from "../logic/form.js";
import { make } from "./dom.js";
import { colour, onTheme, tint } from "./theme.js";

const { uPlot } = globalThis;
const FONT = "12px system-ui, sans-serif";
const HATCH_PX = 7;

export class Chart {
  #plot;
  #host;
  #look;
  #width = 0;
  #wanted;
  #isOver = false;
  #observer = new ResizeObserver(() => this.#fit());
  #forgetTheme;

  // `look`: height, `lines` (colour variable, width, isStep), `format` of a value, `sync` (a key, for one cursor over several).
  constructor(host, look) {
    this.#host = host;
    this.#look = look;
    this.#observer.observe(host);
    this.#forgetTheme = onTheme(() => this.#plot?.redraw(false));
  }

  // Columns, the seconds at both ends, the value on top, ranges that are hatched, and the colour of the band.
  draw(wanted) {
    if (this.#isOver) return undefined;
    this.#wanted = wanted;
    if (this.#plot === undefined) return this.#fit();
    this.#plot.batch(() => {
      this.#plot.setData(wanted.columns, false);
      this.#plot.setScale("x", { min: wanted.from, max: wanted.to });
      this.#plot.setScale("y", { min: 0, max: wanted.top });
    });
    return undefined;
  }

  // For good: what comes later draws nothing.
  destroy() {
    this.#plot?.destroy();
    this.#observer.disconnect();
    this.#forgetTheme();
    this.#isOver = true;
  }

  #fit() {
    const width = Math.floor(this.#host.clientWidth);
    if (width === 0 || this.#wanted === undefined || this.#isOver) return;
    if (this.#plot === undefined) {
      this.#width = width;
      this.#plot = new uPlot(this.#options(width), this.#wanted.columns, this.#host);
      this.draw(this.#wanted);
    } else if (width !== this.#width) {
      this.#width = width;
      this.#plot.setSize({ width, height: this.#look.height });
    }
  }

  #options(width) {
    const { height, lines, format, sync, ticks } = this.#look;
    const axis = { stroke: () => colour("muted"), font: FONT, ticks: { show: false }, border: { show: false } };
    return {
      width, height, ms: 1e-3, pxAlign: 1,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, ...(sync === undefined ? {} : { sync: { key: sync } }) },
      scales: { x: { time: true, auto: false }, y: { auto: false } },
      axes: [
        {
          ...axis, size: 22, grid: { show: false }, space: 64,
          values: (_, splits) => splits.map((second) => clock(second * 1000).slice(0, second % 60 === 0 ? 5 : 8)),
        },
        {
          ...axis, size: 58, gap: 4, space: ticks ?? 28, grid: { stroke: () => colour("line"), width: 1 },
          values: (_, splits) => splits.map((value) => (value === 0 ? "0" : format(value))),
        },
      ],
      series: [{}, ...lines.map((line) => ({
        stroke: () => colour(this.#wanted.stroke?.[line.colour] ?? line.colour),
        width: line.width ?? 1.5, spanGaps: false,
        // A line of one point would not be seen.
        points: {
          show: true, size: 4, width: 0, fill: () => colour(this.#wanted.stroke?.[line.colour] ?? line.colour),
          filter: (plot, place) => lonely(plot.data[place]),
        },
        paths: line.isStep ? uPlot.paths.stepped({ align: -1 }) : undefined,
      }))],
      bands: lines.length < 2 ? [] : [{ series: [1, 2], fill: () => tint(this.#wanted.band ?? "muted", 0.22) }],
      hooks: { drawAxes: [(plot) => this.#hatch(plot)], draw: [(plot) => this.#edge(plot)] },
    };
  }

  // Times in which nothing was heard.
  #hatch(plot) {
    const { ctx, bbox: { left, top, width, height } } = plot;
    for (const [from, to] of this.#wanted.hatched) {
      const a = Math.max(left, plot.valToPos(from, "x", true));
      const b = Math.min(left + width, plot.valToPos(to, "x", true));
      if (b <= a) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(a, top, b - a, height);
      ctx.clip();
      ctx.strokeStyle = colour("edge");
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      const step = HATCH_PX * devicePixelRatio;
      for (let x = a - height - ((a - height) % step); x < b; x += step) {
        ctx.moveTo(x, top + height);
        ctx.lineTo(x + height, top);
      }
      ctx.stroke();
      ctx.restore();
    }
  }

  // Values off the scale: a mark at the edge.
  #edge(plot) {
    const [seconds, values] = this.#wanted.columns;
    const { ctx, bbox: { top } } = plot;
    const size = 4 * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = colour(this.#wanted.band ?? "text");
    values.forEach((value, place) => {
      if (value === null || value <= this.#wanted.top || seconds[place] < this.#wanted.from) return;
      const x = plot.valToPos(seconds[place], "x", true);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x - size, top + 1.6 * size);
      ctx.lineTo(x + size, top + 1.6 * size);
      ctx.fill();
    });
    ctx.restore();
  }
}

// The places of values with nothing on either side.
function lonely(values) {
  const found = [];
  values.forEach((value, place) => {
    if (value !== null && (values[place - 1] ?? null) === null && (values[place + 1] ?? null) === null) found.push(place);
  });
  return found;
}

// A place for a chart: an image with a sentence, and the same as a table, as it was when it was asked for: nobody can read one that changes.
export function chartPlace(title, table) {
  const canvas = make("div", { class: "canvas", role: "img" });
  const body = make("div", { class: "scroll", tabindex: "0" });
  const asTable = make("details", {}, make("summary", {}, "as table"), body);
  asTable.addEventListener("toggle", () => { if (asTable.open) body.replaceChildren(tableOf(table())); });
  return { figure: make("figure", {}, ...title, canvas, asTable), canvas };
}

// `{ columns, rows, empty }` as a table.
function tableOf({ columns, rows, empty }) {
  if (rows.length === 0) return make("p", { class: "empty" }, empty);
  return make("table", {}, make("caption", { class: "muted" }, `As of ${clock(Date.now())}; open it again for later ones.`),
    make("thead", {}, make("tr", {}, ...columns.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text) => make("td", { class: "number" }, text))))));
}
