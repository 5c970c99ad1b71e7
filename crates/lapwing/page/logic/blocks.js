// The block times that clients reported, by connection and topic: five minutes of them.

import { SLOW } from "./cause.js";
import { lateness, worst } from "./client.js";
import { byPlace, placed } from "./place.js";

export const KEPT_MS = 300_000;
export const CHARTS_MAX = 12;
// Five minutes of a report a second.
const POINTS_MAX = 300;
export const RUNS_MAX = 6000;
// Of all runs together: some 20 MB. Then each new one takes the place of the oldest of its run.
const POINTS_OF_ALL_MAX = 200_000;
// The connections that are counted on the strip.
const SESSIONS_MAX = 100_000;
// Of the strip: 60 columns of 5 s, and how many times the source's own time a row begins at.
export const STRIP_COLUMNS = 60;
export const STRIP_RATIOS = [0, 0.9, 1.1, 1.5, 2, 4, 8];

const NOBODY = new Set();

export class Blocks {
  // By connection, then topic.
  #runs = new Map();
  #points = 0;
  // Whether all that is held is of clients that are slow or pinned, as far as is known.
  #isAllWanted = false;
  // What the strip counts, so that it is not counted anew for each picture: by column, in a ring.
  #columns = [];
  // When each connection last had a report that counts there, the longest ago first.
  #sessions = new Map();

  // Takes a report, as `$reports` has it. One with a flag says nothing about pace: it is a gap in the line. `pins`: names of which
  // the runs are kept when there are too many, as those of clients that are slow are.
  add(told, pins = NOBODY) {
    const report = placed(told);
    const at = Date.parse(report.time);
    const blocks = Math.max(1, report.blocks ?? 1);
    const counts = (report.flags ?? []).length === 0 && Number.isFinite(report.elapsed_ms);
    const key = `${report.session} ${report.topic}`;
    const point = {
      at, block: report.block, cause: report.cause, drift: report.drift_ms, flags: report.flags ?? [],
      elapsed: counts ? report.elapsed_ms / blocks : null,
      server: counts && Number.isFinite(report.server_ms) ? report.server_ms / blocks : null,
    };
    this.#count(report.session, point);
    let run = this.#runs.get(key);
    if (run === undefined) {
      if (this.#isFull && !this.#makeRoom(report, pins)) return;
      run = { session: report.session, client: report.client, topic: report.topic, blockSize: report.block_size, points: [] };
      this.#runs.set(key, run);
    }
    if (run.points.length > 0 && (run.points.length >= POINTS_MAX || this.#points >= POINTS_OF_ALL_MAX)) {
      run.points.shift();
      this.#points -= 1;
    }
    run.points.push(point);
    this.#points += 1;
  }

  // Lets go of what is too old to be drawn.
  forget(nowMs) {
    this.#isAllWanted = false;
    for (const [key, { points }] of this.#runs) {
      const young = points.findIndex(({ at }) => at >= nowMs - KEPT_MS);
      const old = young < 0 ? points.length : young;
      this.#points -= old;
      if (old > 0) points.splice(0, old);
      if (points.length === 0) this.#runs.delete(key);
    }
    for (const [session, at] of this.#sessions) {
      if (at >= nowMs - KEPT_MS) break;
      this.#sessions.delete(session);
    }
  }

  clear() {
    this.#runs.clear();
    this.#sessions.clear();
    [this.#points, this.#isAllWanted, this.#columns] = [0, false, []];
  }

  get #isFull() {
    return this.#runs.size >= RUNS_MAX || this.#points >= POINTS_OF_ALL_MAX;
  }

  // A run that is there stays, or each new one would take another's past; only for a client that is slow or pinned one goes that is
  // neither. Gives whether there is room now.
  #makeRoom({ cause, client }, pins) {
    if (this.#isAllWanted || !(SLOW.includes(cause) || pins.has(client))) return false;
    for (const [key, { client: other, points }] of this.#runs) {
      if (pins.has(other) || SLOW.includes(points.at(-1).cause)) continue;
      this.#points -= points.length;
      return this.#runs.delete(key);
    }
    // Not looked for again until something has been forgotten.
    this.#isAllWanted = true;
    return false;
  }

  #count(session, point) {
    const row = stripRow(point);
    if (row < 0) return;
    const column = columnAt(point.at);
    const place = column % RING;
    if (!(this.#columns[place]?.column >= column)) this.#columns[place] = { column, counts: new Array(STRIP_RATIOS.length).fill(0) };
    if (this.#columns[place].column === column) this.#columns[place].counts[row] += 1;
    // Last of all again.
    this.#sessions.delete(session);
    if (this.#sessions.size < SESSIONS_MAX) this.#sessions.set(session, point.at);
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
      .sort((a, b) => b.isPinned - a.isPinned || b.late - a.late || byPlace(a.run.session, b.run.session))
      .slice(0, most)
      .map(({ run }) => run);
  }

  // How many reports of all other clients fell where: columns of time, rows of the client's time by the source's.
  density(nowMs, except) {
    const first = columnAt(nowMs - 1) - STRIP_COLUMNS + 1;
    const cells = Array.from({ length: STRIP_COLUMNS }, (_, place) => {
      const held = this.#columns[(first + place) % RING];
      return held?.column === first + place ? [...held.counts] : new Array(STRIP_RATIOS.length).fill(0);
    });
    for (const { session, points } of except.size === 0 ? [] : this.#runs.values()) {
      if (!except.has(session)) continue;
      for (const point of points) {
        const [column, row] = [cells[columnAt(point.at) - first], stripRow(point)];
        if (column?.[row] > 0) column[row] -= 1;
      }
    }
    const apart = [...except].filter((session) => this.#sessions.has(session)).length;
    return { cells, clients: this.#sessions.size - apart };
  }
}

// The ring has room for a clock that is ahead of what is drawn.
const RING = 2 * STRIP_COLUMNS;

// Columns begin at whole multiples of their width, whenever they are drawn.
function columnAt(ms) {
  return Math.floor(ms / (KEPT_MS / STRIP_COLUMNS));
}

// Where on the strip a report lies; below 0 where it says nothing about pace.
function stripRow({ elapsed, server }) {
  return elapsed === null || !(server > 0) ? -1 : STRIP_RATIOS.findLastIndex((ratio) => elapsed / server >= ratio);
}

// Columns for a chart: seconds, the client's times, the source's. A line is cut where an outage lies across it, in part too.
export function columns(run, outages) {
  const [seconds, client, source] = [[], [], []];
  let last;
  for (const { at, elapsed, server } of run.points) {
    const second = at / 1000;
    if (last !== undefined) {
      const cut = outages.find(([from, to]) => from < second && to > last);
      if (cut !== undefined) {
        seconds.push((Math.max(cut[0], last) + Math.min(cut[1], second)) / 2);
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
