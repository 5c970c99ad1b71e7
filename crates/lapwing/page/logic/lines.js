// The messages that are shown: at most 200 held of each topic, at most 10 more drawn a second.
import { LINE_CHARACTERS_MAX, cut } from "./form.js";

export const LINES_MAX = 200;
export const DRAWN_PER_SECOND = 10;
// Topics of which lines are held; of others only while they are shown.
export const TOPICS_MAX = 20;

// All topics together.
export const ALL = "";

export class Lines {
  shown = ALL;
  isPaused = false;
  // Messages that came and were not drawn, of what is shown.
  notShown = 0;
  #held = new Map();
  // The topic of which lines are held beyond all others, since it is shown.
  #extra;
  #waiting = [];
  // What was there already is drawn at once.
  #isCatchingUp = true;

  take(line) {
    if (!this.#held.has(line.topic) && this.#held.size < TOPICS_MAX) this.#held.set(line.topic, []);
    const of = this.#held.get(line.topic);
    of?.push(line);
    if (of?.length > LINES_MAX) of.shift();
    if (this.shown !== ALL && this.shown !== line.topic) return;
    this.#waiting.push(line);
    if (this.#waiting.length > LINES_MAX) {
      this.#waiting.shift();
      this.notShown += 1;
    }
  }

  get waits() {
    return this.#waiting.length;
  }

  catchUp() {
    this.#isCatchingUp = true;
  }

  // Shows another topic, or all; gives what is held of it, oldest first.
  show(topic) {
    [this.shown, this.#waiting, this.notShown] = [topic, [], 0];
    if (this.#extra !== undefined && this.#extra !== topic) {
      this.#held.delete(this.#extra);
      this.#extra = undefined;
    }
    if (topic !== ALL && !this.#held.has(topic)) {
      if (this.#held.size >= TOPICS_MAX) this.#extra = topic;
      this.#held.set(topic, []);
    }
    const held = topic === ALL ? [...this.#held.values()].flat() : (this.#held.get(topic) ?? []);
    return byTime(held.slice()).slice(-LINES_MAX);
  }

  // What is to be drawn now, oldest first.
  draw() {
    if (this.isPaused || this.#waiting.length === 0) return [];
    const fresh = byTime(this.#waiting).slice(-(this.#isCatchingUp ? LINES_MAX : DRAWN_PER_SECOND));
    this.notShown += this.#waiting.length - fresh.length;
    [this.#waiting, this.#isCatchingUp] = [[], false];
    return fresh;
  }
}

// Reads an envelope by its layout, without its data: parsing would round integers beyond 2^53, and cost a fast feed dear. Of a message
// that is shown no more is kept than is shown; what the server itself tells is read, and kept by nobody.
export function envelope(text) {
  const found = ENVELOPE.exec(text);
  if (found === null) return undefined;
  const [head, topic, offset, time] = found;
  const line = { topic, offset: Number(offset), time, data: text.slice(head.length, -1) };
  if (topic.startsWith("$") || line.data.length <= LINE_CHARACTERS_MAX) return line;
  // A copy: a part of a string keeps the whole of it in memory.
  return structuredClone({ ...line, data: cut(line.data, LINE_CHARACTERS_MAX) });
}
const ENVELOPE = /^\{"topic":"([$\w-]+)","offset":(\d+),"time":"([^"]+)","data(?:_base64)?":/;

// Topics catch up one after the other.
function byTime(lines) {
  return lines.sort((a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)));
}
