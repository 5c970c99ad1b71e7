// How many messages a second went out to all clients: a point a second, ten minutes of them.

export const POINTS = 600;
const MEAN_OF = 10;
// A later answer than this leaves a gap: a mean over it would hide what happened within.
const STEP_MS_MAX = 3500;

export class Delivery {
  // By second; a second without a point is a gap.
  #rates = new Map();
  #last;

  // Takes an answer of `/api/topics`.
  on({ started, time, delivered }) {
    const now = { started, ms: Date.parse(time), messages: delivered?.messages };
    const last = this.#last;
    this.#last = now;
    if (last === undefined || last.started !== now.started || now.messages === undefined) return;
    const took = now.ms - last.ms;
    if (!(took > 0) || took > STEP_MS_MAX) return;
    const rate = Math.max(0, now.messages - last.messages) / (took / 1000);
    const to = Math.floor(now.ms / 1000);
    for (let second = Math.floor(last.ms / 1000) + 1; second <= to; second += 1) this.#rates.set(second, rate);
    for (const second of this.#rates.keys()) {
      if (second > to - POINTS) break;
      this.#rates.delete(second);
    }
  }

  // The next answer is not compared with the one before it.
  interrupt() {
    this.#last = undefined;
  }

  get size() {
    return this.#rates.size;
  }

  // Seconds and rates up to now, each the mean of the ten seconds before it, as the rates of topics are: a source that makes five
  // messages every 2 s is no comb. `null` where there is no point; no mean reaches over such a gap.
  columns(nowMs) {
    const end = Math.floor(nowMs / 1000);
    const seconds = Array.from({ length: POINTS }, (_, place) => end - POINTS + 1 + place);
    let run = [];
    const means = seconds.map((second) => {
      const rate = this.#rates.get(second);
      run = rate === undefined ? [] : [...run.slice(1 - MEAN_OF), rate];
      // One second alone says nothing of a source that makes many at once.
      return run.length < 2 ? null : run.reduce((sum, one) => sum + one, 0) / run.length;
    });
    return [seconds, means];
  }

  // The mean of each of the last minutes that has points, newest first.
  minutes(nowMs) {
    const sums = new Map();
    for (const [second, rate] of this.#rates) {
      const minute = Math.floor(second / 60);
      const sum = sums.get(minute) ?? { from: minute * 60_000, points: 0, total: 0, least: Infinity, most: 0 };
      sums.set(minute, {
        ...sum, points: sum.points + 1, total: sum.total + rate, least: Math.min(sum.least, rate), most: Math.max(sum.most, rate),
      });
    }
    return [...sums.values()].filter(({ from }) => from <= nowMs).reverse().map((sum) => ({ ...sum, mean: sum.total / sum.points }));
  }
}
