// Whether things are well, in words: the sentence on top of the page, and the chain from source to client.
import { SLOW, rank, shown, slowCount } from "./cause.js";
import { behind, count, counted, name, rate, short, span } from "./form.js";
import { lateness, silentMs } from "./client.js";
import { byPlace } from "./place.js";
import { serversWords } from "./servers.js";

// Who is named before the others are only counted.
const NAMED_MAX = 3;
// A server is late when a turn comes later than this.
const LATE_MS = 50;

// Who does not keep up, the worst first.
export function laggards(rows) {
  const found = [...rows.values()].filter((row) => SLOW.includes(row.cause));
  return found.sort((a, b) => lateness(b) - lateness(a) || rank(a.cause) - rank(b.cause) || byPlace(a.session, b.session));
}

// The sentence: texts, and clients to be named as `{ session, client }`.
export function sentence({ watch, roster, topics, servers, lateMs, nowMs }) {
  const sources = `${sourcesWords(topics)}${serversWords(servers ?? [])}`;
  if (watch === "denied" || watch === "absent") {
    const why = watch === "denied"
      ? "Who receives how fast is shown only on the server's own machine, or to a token with the scope admin."
      : "This server does not tell who receives how fast.";
    return [why, " Topics and messages are live.", sources];
  }
  if (!roster.loaded) return ["Waiting for the list of clients."];
  const { total, counts } = roster.others;
  if (total === 0) return ["No clients yet.", sources];
  const slow = slowCount(counts);
  const unclear = counts.unclear ?? 0;
  const well = Math.max(0, total - slow - unclear);
  const unknown = unclear === 0 ? "" : unclearWords(unclear, total);
  if (slow === 0) {
    if (unclear === total) return [`${counted(total, "client")}.`, unknown, serverWords(counts, lateMs, false), sources];
    const all = total === 1 ? "The one client keeps up." : `All ${count(total)} clients keep up.`;
    const some = `${count(well)} of ${count(total)} clients keep${well === 1 ? "s" : ""} up.`;
    return [well === total ? all : some, unknown, serverWords(counts, lateMs, false), sources];
  }
  const parts = [total === 1 ? "The one client does not keep up"
    : `${count(well)} of ${count(total)} clients keep${well === 1 ? "s" : ""} up. ${count(slow)} ${slow === 1 ? "does" : "do"} not`];
  const named = laggards(roster.rows).slice(0, NAMED_MAX);
  named.forEach((row, place) => {
    parts.push(place === 0 ? ": " : ", ", { session: row.session, client: row.client }, ` (${how(row, nowMs)})`);
  });
  const more = slow - named.length;
  if (more > 0) parts.push(named.length === 0 ? "" : `, and ${count(more)} more`);
  parts.push(".", unknown, serverWords(counts, lateMs, true), sources);
  return parts.filter((part) => part !== "");
}

// The same as one text, as it stands on the page and is spoken.
export function text(parts) {
  return parts.map((part) => (typeof part === "string" ? part : name(part.client))).join("").trim();
}

// What the sentence is about, without numbers that grow: it is told anew when this changes.
export function essence({ watch, roster, topics, servers, lateMs }) {
  const { total, counts } = roster.others;
  const named = laggards(roster.rows).slice(0, NAMED_MAX).map((row) => [row.session, row.cause]);
  const slow = SLOW.map((cause) => counts[cause] ?? 0);
  const states = (topics ?? []).filter(isOff).map(({ topic, state }) => [topic, state]);
  return JSON.stringify([watch, roster.loaded, total, slow, counts.unclear, named, states, lateMs > LATE_MS, topics === undefined, serversWords(servers ?? [])]);
}

// Source, server, network, clients: what each of them says, with mark and colour.
export function chain({ watch, roster, topics, lateMs }) {
  const sees = watch === "allowed" && roster.loaded;
  const { total, counts } = roster.others;
  const many = (cause, word) => {
    const found = counts[cause] ?? 0;
    return found === 0 ? [] : [{ ...pick(shown(cause)), text: `${count(found)} ${word}` }];
  };
  const unknown = [{ mark: "?", colour: "muted", text: "not known" }];
  const nobody = [{ mark: "?", colour: "muted", text: "nobody" }];
  const well = (text) => [{ mark: "●", colour: "good", text }];
  // Where nobody reports, that nobody was found slow says nothing.
  const isKnown = (counts.unclear ?? 0) < total;
  const judged = (found, rest) => (!sees ? unknown : total === 0 ? nobody : found.length > 0 ? found : rest);
  const network = many("network slow", "slow");
  const clients = [...many("client slow", "slow"), ...many("silent", "silent")];
  return [
    { name: "Source", items: sourceItems(topics) },
    { name: "Server", items: serverItems(counts, lateMs) },
    { name: "Network", items: judged(network, isKnown ? well("clear") : unknown) },
    { name: "Clients", items: judged(clients, isKnown ? well(clientsWord(total, counts)) : [{ ...unknown[0], text: clientsWord(total, counts) }]) },
  ];
}

// How a topic's state is shown.
export function topicState(state) {
  return STATES[state] ?? { mark: "?", colour: "muted", word: String(state) };
}
const STATES = {
  "on time": { mark: "●", colour: "good", word: "on time" },
  slow: { mark: "○", colour: "muted", word: "source slow" },
  waiting: { mark: "◌", colour: "muted", word: "waiting for the first message" },
  ended: { mark: "–", colour: "muted", word: "ended" },
  failed: { mark: "✕", colour: "error", word: "failed" },
};

function clientsWord(total, counts) {
  const unclear = counts.unclear ?? 0;
  return unclear === 0 ? "keep up" : `${count(total - unclear)} of ${count(total)} known to keep up`;
}

function unclearWords(unclear, total) {
  const who = unclear < total ? count(unclear) : total === 1 ? "It" : "They";
  return ` ${who} cannot be judged: ${unclear === 1 ? "it sends" : "they send"} no reports.`;
}

function how(row, nowMs) {
  if (row.cause === "silent") {
    const ms = silentMs(row, nowMs);
    return ms === undefined ? "silent" : `silent for ${span(ms)}`;
  }
  return Number.isFinite(row.behind_ms) ? `${row.cause}, ${behind(row.behind_ms)} behind` : row.cause;
}

function serverWords(counts, lateMs, someAreSlow) {
  if ((counts["server slow"] ?? 0) > 0) return " The server is the cause.";
  if (lateMs > LATE_MS) return ` The server was up to ${short(lateMs)} late.`;
  return someAreSlow ? " The server is not the cause." : "";
}

function sourcesWords(topics) {
  const off = (topics ?? []).filter(isOff);
  if (off.length === 0) return "";
  const [first] = off;
  if (off.length > 1) return ` ${count(off.length)} sources are slow or have failed.`;
  return first.state === "failed"
    ? ` The source of ${first.topic} has failed.`
    : ` The source of ${first.topic} is slow: ${rate(first.achieved_per_s)} of ${rate(first.asked_per_s)} a second.`;
}

function isOff({ state }) {
  return state === "slow" || state === "failed";
}

function sourceItems(topics) {
  if (topics === undefined) return [{ mark: "?", colour: "muted", text: "not known" }];
  if (topics.length === 0) return [{ mark: "?", colour: "muted", text: "no topics" }];
  const with_ = (state) => topics.filter((topic) => topic.state === state).length;
  const items = ["failed", "slow"].filter((state) => with_(state) > 0).map((state) => ({ ...pick(topicState(state)), text: `${with_(state)} ${state}` }));
  if (items.length > 0) return items;
  if (with_("on time") > 0) return [{ ...pick(topicState("on time")), text: "on time" }];
  const state = topics[0].state;
  return [{ ...pick(topicState(state)), text: state ?? "not known" }];
}

function serverItems(counts, lateMs) {
  const slow = counts["server slow"] ?? 0;
  if (slow > 0 || lateMs > LATE_MS) return [{ ...pick(shown("server slow")), text: Number.isFinite(lateMs) ? short(lateMs) : "slow" }];
  return Number.isFinite(lateMs) ? [{ mark: "●", colour: "good", text: short(lateMs) }] : [{ mark: "?", colour: "muted", text: "not known" }];
}

function pick({ mark, colour }) {
  return { mark, colour };
}
