// What one row of `/api/clients` says, about the topic that is worst off.
import { SLOW } from "./cause.js";

// How late a client is, or one of its topics, for an order: who does not keep up stands before all others. In tenths of a second, as
// it is shown: what nobody sees moves no row. Undefined where nothing is known.
export function lateness({ cause, behind_ms: behindMs }) {
  const slow = SLOW.includes(cause);
  if (!slow && !Number.isFinite(behindMs)) return undefined;
  // How far behind one is of whom nothing is heard, nobody knows.
  const tenths = cause === "silent" || !Number.isFinite(behindMs) ? 0 : Math.max(0, Math.round(behindMs / 100));
  return tenths + (slow ? SLOW_FIRST : 0);
}
const SLOW_FIRST = 1e12;

// The topic that the row is about: the one that is slow, or the farthest behind, else the first with a report, else the first.
export function worst(row) {
  let found;
  for (const topic of row.topics ?? []) {
    if (found === undefined || weight(topic) > weight(found)) found = topic;
  }
  return found;
}

// Whether it has ever reported.
export function reports(row) {
  return (row.topics ?? []).some((topic) => topic.block !== undefined);
}

export function isSlow(row) {
  return SLOW.includes(row.cause);
}

// How many messages wait for it, of the topic with the most.
export function lag(row) {
  return (row.topics ?? []).reduce((most, topic) => Math.max(most ?? 0, topic.lag ?? 0), undefined);
}

// A block's time by the time that the source took; above 1 is slower.
export function ratio(row) {
  const topic = worst(row);
  return topic?.server_ms > 0 ? topic.elapsed_ms / topic.server_ms : undefined;
}

// How long nothing was heard of a client that is silent, if that can be told.
export function silentMs(row, nowMs) {
  const times = (row.topics ?? []).map((topic) => Date.parse(topic.reported_at ?? topic.slow_since)).filter(Number.isFinite);
  return times.length === 0 ? undefined : Math.max(0, nowMs - Math.max(...times));
}

function weight(topic) {
  return lateness(topic) ?? (topic.block === undefined ? -Infinity : -1);
}
