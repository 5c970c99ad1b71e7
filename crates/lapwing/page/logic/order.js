// Which rows are listed, and in which order; nothing moves under a reader.
import { rank } from "./cause.js";
import { isSlow, lag, lateness, ratio } from "./client.js";
import { byPlace } from "./place.js";

// By what rows can be sorted: the value, and whether large ones come first.
export const SORTS = new Map([
  ["name", { of: (row) => String(row.client).toLowerCase(), largestFirst: false }],
  ["server", { of: (row) => row.server, largestFirst: false }],
  ["cause", { of: (row) => rank(row.cause), largestFirst: false }],
  ["behind", { of: lateness, largestFirst: true }],
  ["block", { of: ratio, largestFirst: true }],
  ["lag", { of: lag, largestFirst: true }],
  ["rtt", { of: (row) => row.rtt_ms, largestFirst: true }],
  ["waits", { of: (row) => row.waits_bytes, largestFirst: true }],
  ["since", { of: (row) => Date.parse(row.since), largestFirst: true }],
]);

export const FILTERS = new Map([
  ["all", () => true],
  ["slow", isSlow],
  // As the sentence counts them.
  ["quiet", (row) => row.cause === "unclear"],
]);

// How often rows are sorted anew.
export const SORT_EVERY_MS = 5000;

// Whether a row is asked for: by the filter, and by a part of its name or address, or of its server's name.
export function isWanted(row, { filter, search }) {
  if (!(FILTERS.get(filter) ?? FILTERS.get("all"))(row)) return false;
  const wanted = search.trim().toLowerCase();
  return wanted === "" || [row.client, row.address, row.who, row.server].some((text) => String(text ?? "").toLowerCase().includes(wanted));
}

// The sessions in the order asked for. Who has no value comes last; equals stand by their number, so that they keep their places.
export function sorted(rows, { sort, turned }) {
  const { of, largestFirst } = SORTS.get(sort) ?? SORTS.get("behind");
  const sign = largestFirst === turned ? 1 : -1;
  const keyed = rows.map((row) => [of(row), row.session]);
  keyed.sort(([a, first], [b, second]) => {
    const [noA, noB] = [isMissing(a), isMissing(b)];
    if (noA || noB) return noA - noB || byPlace(first, second);
    return (a < b ? -sign : a > b ? sign : 0) || byPlace(first, second);
  });
  return keyed.map(([, session]) => session);
}

export class Order {
  sessions = [];
  // How many rows would move if they might.
  moves = 0;
  #sortedAt = -Infinity;
  #asked = "";

  // Gives each row its place. `held`: a reader points at the list, so rows stay, and new ones come at the end.
  refresh(rows, asked, held, nowMs) {
    const wanted = [...rows.values()].filter((row) => isWanted(row, asked));
    const fresh = sorted(wanted, asked);
    const asks = JSON.stringify(asked);
    const isDue = asks !== this.#asked || this.sessions.length === 0 || (!held && nowMs - this.#sortedAt >= SORT_EVERY_MS);
    if (isDue) {
      [this.sessions, this.#asked, this.#sortedAt, this.moves] = [fresh, asks, nowMs, 0];
      return;
    }
    const there = new Set(fresh);
    // Held, one that left keeps its place until the reader goes: the rows below it must not jump up.
    const kept = this.sessions.filter((session) => there.has(session) || (held && !rows.has(session)));
    const known = new Set(kept);
    this.sessions = [...kept, ...fresh.filter((session) => !known.has(session))];
    this.moves = held ? this.sessions.filter((session, place) => fresh[place] !== session).length : 0;
  }
}

function isMissing(value) {
  return value === undefined || value === null || Number.isNaN(value);
}
