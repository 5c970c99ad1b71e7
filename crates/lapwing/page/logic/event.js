// What happened on the server, as lines: a mark, a word as on the console, a sentence.
import { shown } from "./cause.js";
import { behind, bytes, count, counted, passing, span, visible } from "./form.js";

// Above this many of one kind in one second a kind is one line, as on the console.
const SHOWN_PER_SECOND_MAX = 20;

const KINDS = {
  ready: ["●", "good", "ready"], joined: ["→", "text", "join"], left: ["←", "muted", "left"], said: ["”", "text", "says"],
  slow: ["▲", "client", "slow"], silent: ["◇", "muted", "slow"], keeps_up: ["●", "good", "ok"], gap: ["✕", "error", "gap"], source: ["○", "muted", "source"],
  storage: ["○", "text", "disk"], certificate: ["○", "text", "tls"], access: ["○", "text", "access"], limit: ["✕", "error", "limit"],
  not_shown: ["✕", "error", "limit"], stopping: ["■", "text", "stop"], stopped: ["■", "text", "stop"], report: ["●", "muted", "block"],
  peer: ["●", "good", "server"],
};

// One event as a line. `client` is a name from outside, for an element of its own; `text` follows it.
export function line(event) {
  const [mark, colour, word] = KINDS[event.event] ?? ["○", "muted", String(event.event)];
  const made = { time: event.time, mark, colour, word, client: event.client, text: visible(words(event)) };
  // Where several servers tell, each says which one it is.
  if (event.server !== undefined) made.server = event.server;
  if (event.event === "peer" && event.state === "gone") [made.mark, made.colour] = ["✕", "error"];
  // Whose fault it is shows by the mark, too.
  return event.event === "slow" && event.cause !== undefined ? { ...made, ...pick(shown(event.cause)) } : made;
}

// Lines of many events, oldest first, where a crowd of one kind within one second is one line.
export function lines(events) {
  const crowds = new Map();
  const keyOf = (event) => `${event.event} ${String(event.time).slice(0, 19)}`;
  for (const event of events) crowds.set(keyOf(event), (crowds.get(keyOf(event)) ?? 0) + 1);
  const made = [];
  for (const event of events) {
    const size = crowds.get(keyOf(event));
    if (size === undefined) continue;
    if (size <= SHOWN_PER_SECOND_MAX) {
      made.push(line(event));
      continue;
    }
    crowds.delete(keyOf(event));
    const one = line(event);
    made.push({ ...one, client: undefined, text: `${count(size)} ${CROWDS[event.event] ?? `of ${one.word}`} in 1 s` });
  }
  return made;
}
const CROWDS = { joined: "joined", left: "left", slow: "became slow", keeps_up: "keep up again", gap: "gaps" };

function words(event) {
  switch (event.event) {
    case "ready": return `ready on ${event.address}`;
    case "joined": {
      const places = placesWords(event.from) || (event.mode === "echo" ? "its messages go back" : "no topic yet");
      const wait = event.waiting > 0 ? `; ${counted(event.waiting, "message")} to catch up` : "";
      const who = event.who === undefined ? "" : ` as "${event.who}"`;
      const came = event.away_ms === undefined ? `joined from ${event.address} (${event.mode})` : `is back after ${passing(event.away_ms)}`;
      return `${came}${who}: ${places}${wait}`;
    }
    case "left": {
      const last = placesWords(event.last);
      return `left after ${passing(event.stayed_ms)}: ${event.code}, ${endWords(event)}; ${counted(event.messages, "message")}, ${bytes(event.bytes)}` +
        `${last === "" ? "" : `, ${last}`}${tallyWords("missed", event.missed)}${tallyWords("behind by", event.behind)}${tallyWords("no longer kept", event.gone)}`;
    }
    case "said": return saidWords(event);
    case "slow": {
      // Without a number of blocks it was slow before, and only the cause is another.
      const since = event.blocks === undefined ? "still, and now it is:" : `after ${counted(event.blocks, "block")}:`;
      return `is ${behind(event.behind_ms)} behind on ${event.topic} ${since} ${event.cause}`;
    }
    case "silent": return `is silent on ${event.topic}: no report for ${span(event.quiet_ms)}, no answer to a ping`;
    case "keeps_up": return `keeps up with ${event.topic} again, ${behind(event.behind_ms)} behind`;
    case "gap": return `missed ${event.topic} ${event.from}-${event.to - 1} (${counted(event.to - event.from, "message")}): ${GAPS[event.reason] ?? event.reason}`;
    case "source": case "storage": return `${event.topic}: ${event.text}`;
    case "peer": return event.silent_ms === undefined ? `server ${event.peer} is ${event.state === "gone" ? "gone: it has stopped" : "there"}`
      : `server ${event.peer} is gone: nothing was heard of it for ${span(event.silent_ms)}`;
    case "stopping": return `${event.signal}: the server stops; ${counted(event.clients, "client")}`;
    case "stopped": return `stopped after ${span(event.ran_ms)}: ${counted(event.clients, "client")}, ${counted(event.messages, "message")}`;
    case "not_shown": return `${counted(event.lines, "line")} not shown: the server's console was not read fast enough`;
    default: return String(event.text ?? event.event);
  }
}

// `users 13, arrays 35`
function placesWords(places) {
  return Object.entries(places ?? {}).map(([topic, offset]) => `${topic} ${offset}`).join(", ");
}

// `; missed 12 of users`, or nothing.
function tallyWords(what, tally) {
  const counts = Object.entries(tally ?? {}).map(([topic, many]) => `${count(many)} of ${topic}`);
  return counts.length === 0 ? "" : `; ${what} ${counts.join(", ")}`;
}

// Who ended it, and why; what a client says about that is quoted.
function endWords({ by, reason }) {
  switch (by) {
    case "client": return reason ? `it closed: "${reason}"` : "it closed";
    case "server": return reason ? `${reason}, we closed` : "we closed";
    default: return reason || "the connection broke";
  }
}

// As on the console.
const GAPS = {
  retention: "it was further behind than the topic keeps", policy: "the topic's policy jumped ahead", damage: "damaged", purge: "removed",
};

function saidWords({ text, left_out: leftOut, binary_bytes: binaryBytes, begins }) {
  if (binaryBytes !== undefined) return `${counted(binaryBytes, "byte")}: ${begins}`;
  return `"${text}"${leftOut > 0 ? ` and ${count(leftOut)} more bytes` : ""}`;
}

function pick({ mark, colour }) {
  return { mark, colour };
}
