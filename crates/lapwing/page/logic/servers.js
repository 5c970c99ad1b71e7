// The servers that share the topics, as `/api/servers` has them.
import { count, counted, span } from "./form.js";

// Messages that a server may lack without a word: what is just on its way.
const LAG_MIN = 100;

// How a server is: mark, colour, words. Where it is not well, what follows for its clients.
export function serverState(server) {
  if (server.state === "gone") return { mark: "✕", colour: "error", word: `gone for ${span(server.heard_ms)}` };
  if (server.state === "unknown") return { mark: "?", colour: "muted", word: "not known: nothing is heard here" };
  const stale = server.topics.filter((topic) => topic.stale).length;
  if (stale > 0) return { mark: "✕", colour: "error", word: `cannot reach ${stale === server.topics.length ? "the streams" : counted(stale, "stream")}` };
  if (lagOf(server) > LAG_MIN) return { mark: "▲", colour: "server", word: "behind" };
  return { mark: "●", colour: "good", word: "well" };
}

// How many messages of the streams it does not have, of the topic with the most.
export function lagOf(server) {
  return server.topics.reduce((most, { lag }) => Math.max(most, lag), 0);
}

// The topics that it is behind in, the farthest first, in words.
export function lagWords(server) {
  const behind = server.topics.filter(({ lag }) => lag > 0).sort((a, b) => b.lag - a.lag);
  if (behind.length === 0) return "0";
  const more = behind.length > 1 ? `, ${count(behind.length - 1)} more` : "";
  return `${count(behind[0].lag)} of ${behind[0].topic}${more}`;
}

// What of several servers is not well, as a sentence; nothing where all are.
export function serversWords(servers) {
  if (!areSeveral(servers)) return "";
  const found = new Map();
  for (const server of servers) {
    const kind = server.state === "gone" ? "gone" : server.state === "unknown" ? "not heard" : serverState(server).word === "well" ? "" : "behind or cut off";
    if (kind !== "") found.set(kind, (found.get(kind) ?? 0) + 1);
  }
  if (found.size === 0) return "";
  return ` Of ${count(servers.length)} servers ${[...found].map(([kind, many]) => `${count(many)} ${many === 1 ? "is" : "are"} ${kind}`).join(", ")}.`;
}

// Whether there are several, so that it is told which server a client is on.
export function areSeveral(servers) {
  return servers.length > 1;
}
