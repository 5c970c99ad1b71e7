// How much goes out, second by second.
import { POINTS } from "../logic/delivery.js";
import { clock, count, rate } from "../logic/form.js";
import { Chart, chartPlace } from "./chart.js";
import { element, make, setAttribute } from "./dom.js";

export class DeliveryPlot {
  #chart;
  #place;
  #note = make("p", { class: "empty" }, "Collecting: the first point comes after a few seconds.");
  #delivery;
  #nowMs = 0;

  constructor(delivery) {
    this.#delivery = delivery;
    this.#place = chartPlace([], () => ({
      columns: ["minute", "mean/s", "least/s", "most/s", "seconds"],
      rows: delivery.minutes(this.#nowMs).map((minute) => [
        clock(minute.from), rate(minute.mean), rate(minute.least), rate(minute.most), String(minute.points),
      ]),
      empty: "There are no points yet.",
    }));
    element("delivery-body").append(this.#note, this.#place.figure);
    this.#chart = new Chart(this.#place.canvas, {
      height: 150, lines: [{ colour: "text" }], format: (value) => (value >= 10 ? count(value) : rate(value)),
    });
  }

  draw(nowMs, hatched) {
    this.#nowMs = nowMs;
    const [seconds, rates] = this.#delivery.columns(nowMs);
    const known = rates.filter((value) => value !== null);
    this.#note.hidden = known.length > 0;
    const most = Math.max(1, ...known);
    this.#chart.draw({ columns: [seconds, rates], from: seconds[0], to: seconds[POINTS - 1], top: most * 1.15, hatched });
    const last = rates.findLast((value) => value !== null);
    setAttribute(this.#place.canvas, "aria-label", known.length === 0 ? "Delivery: no points yet" :
      `Delivery: ${rate(last)} messages a second now, between ${rate(Math.min(...known))} and ${rate(Math.max(...known))} in ${count(known.length)} s`);
  }
}
