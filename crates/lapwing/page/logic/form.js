// The forms of numbers, times and foreign text: the same as on the console.

// Unknown is no number, and never 0.
export const UNKNOWN = "-";
// A name is cut here, a message's data there.
export const NAME_CHARACTERS_MAX = 64;
export const LINE_CHARACTERS_MAX = 1000;

// 1,000
export function count(number) {
  return Number.isFinite(number) ? Math.round(number).toLocaleString("en") : UNKNOWN;
}

// "1 client", "2 clients"
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

// A length of time that may be short: 0.2 ms, 480 ms, 8.8 s, 2 m 20 s.
export function short(ms) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  const size = Math.abs(ms);
  if (size < 99.95) return `${fixed(ms, 1)} ms`;
  if (size < 999.5) return `${fixed(ms, 0)} ms`;
  return size < 99_950 ? `${fixed(ms / 1000, 1)} s` : span(ms);
}

// A length of time that is told in passing: 0.2 ms, 1.3 s, 2 m 20 s.
export function passing(ms) {
  return ms < 59_950 ? short(ms) : span(Math.max(60_000, ms));
}

// A round trip: on one machine it is shorter than a tenth of a millisecond, and not 0.
export function fine(ms) {
  if (!(ms >= 0 && ms < 0.095)) return short(ms);
  return ms < 0.005 ? "<0.01 ms" : `${fixed(ms, 2)} ms`;
}

// How far behind: in seconds, since that is what people ask for. Ahead is not behind.
export function behind(ms) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  return ms < 99_950 ? `${fixed(Math.max(0, ms) / 1000, 1)} s` : span(ms);
}

// Two times in one unit: 6.0 of 2.0 s.
export function pair(ms, ofMs) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  if (!Number.isFinite(ofMs)) return short(ms);
  return Math.max(ms, ofMs) < 999.5
    ? `${fixed(ms, 1)} of ${fixed(ofMs, 1)} ms`
    : `${fixed(ms / 1000, 1)} of ${fixed(ofMs / 1000, 1)} s`;
}

// A length of time in its two largest units: 24 s, 2 m 20 s, 2 h 14 m, 3 d 4 h.
export function span(ms) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m, s] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} m`;
  return m > 0 ? `${m} m ${s} s` : `${s} s`;
}

// A length of time in its largest unit, for a narrow column.
export function age(ms) {
  return span(ms).split(" ").slice(0, 2).join(" ").replace(/ m$/, " min");
}

// 0 B, 342 B, 31.3 KiB
export function bytes(number) {
  if (!Number.isFinite(number)) return UNKNOWN;
  let [size, unit] = [number, 0];
  while (size >= 1023.95 && unit < UNITS.length - 1) [size, unit] = [size / 1024, unit + 1];
  return unit === 0 ? `${Math.round(size)} B` : `${fixed(size, 1)} ${UNITS[unit]}`;
}
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

// 1.0, 2.5, 3,500: a number a second.
export function rate(number) {
  if (!Number.isFinite(number)) return UNKNOWN;
  return number < 99.95 ? fixed(number, 1) : count(number);
}

// 19:01:05, in the reader's own zone.
export function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? UNKNOWN : date.toLocaleTimeString("en-GB");
}

// Foreign text, harmless: characters that change how the rest reads, or cannot be seen, are written out.
export function visible(text) {
  return text.replace(HIDDEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\u{e0000}-\u{e0fff}]/gu;

// A name from outside, cut and harmless.
export function name(text) {
  return visible(cut(String(text ?? UNKNOWN), NAME_CHARACTERS_MAX));
}

// At most so many characters, and a sign where something was cut.
export function cut(text, most) {
  if (text.length <= most) return text;
  // Not between the halves of one character.
  const end = /[\ud800-\udbff]/.test(text[most - 2]) ? most - 2 : most - 1;
  return `${text.slice(0, end)}…`;
}

function fixed(number, digits) {
  const text = number.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
}
