// Whether and when a page that lost its connection comes back; PROTOCOL.md has the table.

// Less than a program waits: a person looks on.
const RETRY_MS_MAX = 10_000;
const HINT_MS_MAX = 3_600_000;
// A server that was just restarted is there again soon, and a person waits.
const RETRY_MS_MIN = 100;
const STOPS = [1000, 1002, 1003, 1007, 1008, 1009];

// Whether an end with this code is for good.
export function isFinal(code) {
  return (code >= 4500 && code < 5000) || STOPS.includes(code);
}

// How long to wait before attempt `attempt`, from 1. `random` is from 0 to 1; `hintMs` what the server asked for.
export function waitMs(attempt, random, hintMs) {
  if (Number.isFinite(hintMs)) return Math.min(HINT_MS_MAX, hintMs) * (0.8 + 0.4 * random);
  // Full jitter: those who lost the server together do not come back together.
  return Math.max(RETRY_MS_MIN, random * Math.min(RETRY_MS_MAX, 250 * 2 ** (attempt - 1)));
}

// The time that a close reason asks for, if it does.
export function hint(reason) {
  const found = /(?:^| )retry=(\d+)/.exec(reason);
  return found === null ? undefined : Number(found[1]);
}
