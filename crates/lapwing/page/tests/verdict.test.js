import assert from "node:assert/strict";
import { test } from "node:test";
import { CAUSES, SLOW, shown } from "../logic/cause.js";
import { Roster } from "../logic/roster.js";
import { chain, essence, sentence, text, topicState } from "../logic/verdict.js";

const NOW = Date.parse("2026-11-22T19:01:00Z");
const slow = (session, client, cause, behindMs, more = {}) => ({ session, client, cause, behind_ms: behindMs, topics: [], ...more });

function state(rows, counts, more = {}) {
  const roster = new Roster();
  const clients = Object.values(counts).reduce((sum, value) => sum + value, 0);
  roster.load({ clients, counts, rows: [...rows, ...Array.from({ length: clients - rows.length }, (_, place) => slow(1000 + place, "well", "source-limited", 0))] });
  return { watch: "allowed", roster, topics: [{ topic: "users", state: "on time" }], lateMs: 0.4, nowMs: NOW, ...more };
}
const check = (of, wanted) => assert.equal(text(sentence(of)), wanted);

test("who does not keep up is named, the worst first, and whose fault it is not", () => check(
  state([
    slow(3, "probe-9", "silent", undefined, { topics: [{ reported_at: "2026-11-22T19:00:36Z" }] }),
    slow(2, "attic", "network slow", 800), slow(1, "sensor-2", "client slow", 8800),
  ], { "source-limited": 997, "client slow": 1, "network slow": 1, silent: 1 }),
  "997 of 1,000 clients keep up. 3 do not: sensor-2 (client slow, 8.8 s behind), attic (network slow, 0.8 s behind), probe-9 (silent for 24 s). The server is not the cause."));

test("beyond three they are counted", () => check(
  state([1, 2, 3, 4].map((session) => slow(session, `c${session}`, "client slow", 1000 * session)), { "source-limited": 6, "client slow": 44 }),
  "6 of 50 clients keep up. 44 do not: c4 (client slow, 4.0 s behind), c3 (client slow, 3.0 s behind), c2 (client slow, 2.0 s behind), and 41 more. The server is not the cause."));

test("when all keep up, that is all", () => check(state([], { "source-limited": 12 }), "All 12 clients keep up."));
test("one that keeps up is one", () => check(state([], { "source-limited": 1 }), "The one client keeps up."));
test("who sends no reports is not said to keep up", () => check(
  state([], { "source-limited": 8, unclear: 2 }), "8 of 10 clients keep up. 2 cannot be judged: they send no reports."));
test("of plain clients alone nothing is claimed", () => check(state([], { unclear: 2 }), "2 clients. They cannot be judged: they send no reports."));
test("nobody is nobody", () => check(state([], {}), "No clients yet."));
test("one of one does not", () => check(
  state([slow(1, "a", "server slow", 90)], { "server slow": 1 }), "The one client does not keep up: a (server slow, 0.1 s behind). The server is the cause."));
test("a late server is said to be late", () => check(state([], { "source-limited": 2 }, { lateMs: 380 }), "All 2 clients keep up. The server was up to 380 ms late."));
test("a source that is slow is named", () => check(
  state([], { "source-limited": 2 }, { topics: [{ topic: "users", state: "slow", achieved_per_s: 0.2, asked_per_s: 1 }] }),
  "All 2 clients keep up. The source of users is slow: 0.2 of 1.0 a second."));
test("a source that failed is named", () => check(
  state([], { "source-limited": 2 }, { topics: [{ topic: "users", state: "failed" }] }), "All 2 clients keep up. The source of users has failed."));
test("who may not watch is told how one may", () => check(
  state([], {}, { watch: "denied" }),
  "Who receives how fast is shown only on the server's own machine, or to a token with the scope admin. Topics and messages are live."));
test("a list that has not come is no empty one", () => check({ ...state([], {}), roster: new Roster() }, "Waiting for the list of clients."));

test("a name stands apart from the words around it, since it is foreign", () => {
  const parts = sentence(state([slow(1, "<b>", "client slow", 1)], { "client slow": 1 }));
  assert.deepEqual(parts.filter((part) => typeof part !== "string"), [{ session: 1, client: "<b>" }]);
});

test("numbers that grow are no change of state; another cause is", () => {
  const of = (behindMs, cause) => essence(state([slow(1, "a", cause, behindMs)], { [cause]: 1 }));
  assert.equal(of(1000, "client slow"), of(9000, "client slow"));
  assert.notEqual(of(1000, "client slow"), of(1000, "network slow"));
});

test("the chain shows each fault at its place", () => {
  const of = chain(state([], { "client slow": 1, "network slow": 2, silent: 3, "source-limited": 1 }, { lateMs: 60 }));
  assert.deepEqual(of.map(({ name, items }) => [name, ...items.map(({ mark, text: words }) => `${mark} ${words}`)]),
    [["Source", "● on time"], ["Server", "■ 60.0 ms"], ["Network", "◆ 2 slow"], ["Clients", "▲ 1 slow", "◇ 3 silent"]]);
});

test("what is not known is not shown as well", () => {
  const of = chain(state([], {}, { watch: "denied", topics: undefined, lateMs: undefined }));
  assert.deepEqual(of.map(({ items }) => items.map(({ text: words }) => words).join()), Array(4).fill("not known"));
});

test("of plain clients alone the chain shows nothing as well, and of some of them those who report", () => {
  const ends = (counts) => chain(state([], counts)).slice(2).map(({ items: [{ mark, colour, text: words }] }) => [mark, colour, words].join(" "));
  assert.deepEqual(ends({ unclear: 2 }), ["? muted not known", "? muted 0 of 2 known to keep up"]);
  assert.deepEqual(ends({ unclear: 1, "source-limited": 1 }), ["● good clear", "● good 1 of 2 known to keep up"]);
  assert.deepEqual(ends({ "source-limited": 2 }), ["● good clear", "● good keep up"]);
});

test("each cause has a mark of its own, so that none needs its colour", () => {
  assert.equal(new Set([...CAUSES.values()].map(({ mark }) => mark)).size, CAUSES.size);
  assert.ok(SLOW.every((cause) => CAUSES.has(cause)));
  assert.equal(shown("a word of later").mark, "?");
});

test("each state of a topic has its words", () => {
  for (const known of ["on time", "slow", "waiting", "ended", "failed"]) assert.notEqual(topicState(known).mark, "?");
  assert.deepEqual(topicState("a word of later"), { mark: "?", colour: "muted", word: "a word of later" });
});
