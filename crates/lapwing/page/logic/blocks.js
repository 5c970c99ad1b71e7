// The block times that clients reported, by connection and topic: five minutes of them.

import { lateness, worst } from "./client.js";

export const KEPT_MS = 300_000;
export const CHARTS_MAX = 12;
// Five minutes of a report a second.
const POINTS_MAX = 300;
const RUNS_MAX = 6000;
// Of the strip: 60 columns of 5 s, and how many times the source's own time a row begins at.
export const STRIP_COLUMNS = 60;
export const STRIP_RATIOS = [0, 0.9, 1.1, 1.5, 2, 4, 8];

export class Blocks {
  // By connection, then topic.
  #runs = new Map();

  // Takes a report, as `$reports` has it. One with a flag says nothing about pace: it is a gap in the line.
  add(report) {
    const at = Date.parse(report.time);
    const blocks = Math.max(1, report.blocks ?? 1);
    const counts = (report.flags ?? []).length === 0 && Number.isFinite(report.elapsed_ms);
    const key = `${report.session} ${report.topic}`;
    let run = this.#runs.get(key);
    if (run === undefined) {
      if (this.#runs.size >= RUNS_MAX) this.#runs.delete(this.#runs.keys().next().value);
      run = { session: report.session, client: report.client, topic: report.topic, blockSize: report.block_size, points: [] };
      this.#runs.set(key, run);
    }
    run.points.push({
      at, block: report.block, cause: report.cause, drift: report.drift_ms, flags: report.flags ?? [],
      elapsed: counts ? report.elapsed_ms / blocks : null,
      server: counts && Number.isFinite(report.server_ms) ? report.server_ms / blocks : null,
    });
    if (run.points.length > POINTS_MAX) run.points.shift();
  }

  // Lets go of what is too old to be drawn.
  forget(nowMs) {
    for (const [key, { points }] of this.#runs) {
      while (points.length > 0 && points[0].at < nowMs - KEPT_MS) points.shift();
      if (points.length === 0) this.#runs.delete(key);
    }
  }

  clear() {
    this.#runs.clear();
  }

  get isEmpty() {
    return this.#runs.size === 0;
  }

  run(session, topic) {
    return this.#runs.get(`${session} ${topic}`);
  }

  // All topics of one connection.
  of(session) {
    return [...this.#runs.values()].filter((run) => run.session === session);
  }

  // What is drawn one by one: who is pinned, then who is slowest.
  chosen(rows, pins, most = CHARTS_MAX) {
    const best = new Map();
    for (const run of this.#runs.values()) {
      const row = rows.get(run.session);
      // Of several topics the one that the row speaks of.
      if (row === undefined || (best.has(run.session) && worst(row)?.topic !== run.topic)) continue;
      best.set(run.session, { run, late: lateness(row) ?? -1, isPinned: pins.has(run.client) });
    }
    return [...best.values()]
      .sort((a, b) => b.isPinned - a.isPinned || b.late - a.late || a.run.session - b.run.session)
      .slice(0, most)
      .map(({ run }) => run);
  }

  // How many reports of all other clients fell where: columns of time, rows of the client's time by the source's.
  density(nowMs, except) {
    const cells = Array.from({ length: STRIP_COLUMNS }, () => new Array(STRIP_RATIOS.length).fill(0));
    const clients = new Set();
    for (const run of this.#runs.values()) {
      if (except.has(run.session)) continue;
      for (const point of run.points) {
        if (point.elapsed === null || !(point.server > 0)) continue;
        const column = Math.floor((point.at - (nowMs - KEPT_MS)) / (KEPT_MS / STRIP_COLUMNS));
        if (column < 0 || column >= STRIP_COLUMNS) continue;
        cells[column][STRIP_RATIOS.findLastIndex((ratio) => point.elapsed / point.server >= ratio)] += 1;
        clients.add(run.session);
      }
    }
    return { cells, clients: clients.size };
  }
}

// Columns for a chart: seconds, the client's times, the source's; with nothing within an outage.
export function columns(run, outages) {
  const [seconds, client, source] = [[], [], []];
  let last;
  for (const { at, elapsed, server } of run.points) {
    const second = at / 1000;
    if (last !== undefined) {
      const cut = outages.find(([from, to]) => from >= last && to <= second);
      if (cut !== undefined) {
        seconds.push((cut[0] + cut[1]) / 2);
        client.push(null);
        source.push(null);
      }
    }
    seconds.push(second);
    client.push(elapsed);
    source.push(server);
    last = second;
  }
  return [seconds, client, source];
}

// One scale for all charts: what the sources took fits, and up to four times of it; what is beyond is marked at the edge.
export function top(runs) {
  let [source, client] = [0, 0];
  for (const { points } of runs) {
    for (const { elapsed, server } of points) {
      source = Math.max(source, server ?? 0);
      client = Math.max(client, elapsed ?? 0);
    }
  }
  if (source === 0) return Math.max(client, 1) * 1.15;
  return Math.max(source * 1.3, Math.min(client * 1.15, source * 4));
}
