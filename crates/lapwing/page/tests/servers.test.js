import assert from "node:assert/strict";
import { test } from "node:test";
import { Blocks } from "../logic/blocks.js";
import { line } from "../logic/event.js";
import { isWanted, sorted } from "../logic/order.js";
import { byPlace, place, placeFrom, placed, unplaced } from "../logic/place.js";
import { Roster } from "../logic/roster.js";
import { areSeveral, lagWords, serverState, serversWords } from "../logic/servers.js";

const row = (session, server, more = {}) => ({ session, server, client: `sensor-${session}`, cause: "unclear", address: "127.0.0.1:5", topics: [], ...more });
const topic = (name, lag, stale = false) => ({ topic: name, next: 5, end: 5 + lag, lag, stale });
const server = (more = {}) => ({ server: "b", state: "there", heard_ms: 7204, clients: 3, topics: [topic("users", 0), topic("arrays", 0)], ...more });

test("a number tells a client where there is one server, and number and server where there are several", () => {
  assert.equal(place({ session: 7 }), 7);
  assert.equal(place({ session: 7, server: "b" }), "7@b");
  for (const session of [7, "7@b", "7@1.2.3.4:5", "7@a@b"]) assert.equal(placeFrom(String(session)), session);
  assert.equal(placeFrom(undefined), undefined);
  for (const told of [{ session: 7 }, { session: 7, server: "b" }]) assert.deepEqual(unplaced(placed(told)), told);
  assert.deepEqual(["10@a", 9, "9@b", "9@a", 2].sort(byPlace), [2, 9, "9@a", "9@b", "10@a"]);
});

test("clients of two servers with one number are two, and each leaves by itself", () => {
  const roster = new Roster();
  roster.load({ clients: 2, counts: { unclear: 2 }, rows: [row(1, "a"), row(1, "b")] });
  assert.deepEqual([...roster.rows.keys()], ["1@a", "1@b"]);
  roster.apply(row(1, "b", { cause: "client slow" }));
  assert.equal(roster.rows.get("1@b").cause, "client slow");
  assert.equal(roster.rows.get("1@a").cause, "unclear");
  roster.apply({ server: "a", session: 1, left: true });
  assert.deepEqual([...roster.rows.keys()], ["1@b"]);
});

test("the page hides itself, and nobody of the same number on another server", () => {
  const roster = new Roster();
  roster.home = "a";
  roster.own = 9;
  roster.load({ clients: 2, counts: { unclear: 2 }, rows: [row(9, "a"), row(9, "b")] });
  assert.deepEqual([...roster.rows.keys()], ["9@b"]);
  assert.deepEqual(roster.others, { total: 1, counts: { unclear: 1 } });
});

test("a client is found by its server, and sorted by it", () => {
  const asked = { filter: "all", search: "LAPWING-2", sort: "server", turned: false };
  assert.ok(isWanted(row(1, "lapwing-2"), asked) && !isWanted(row(1, "lapwing-1"), asked));
  const rows = [row(1, "b"), row(2, "a"), row(1, "a")].map(placed);
  assert.deepEqual(sorted(rows, asked), ["1@a", "2@a", "1@b"]);
});

test("reports of two servers make two runs", () => {
  const blocks = new Blocks();
  const report = (of) => ({ server: of, session: 1, client: "c", topic: "users", time: "2026-11-22T19:00:00Z", block: 1, blocks: 1, elapsed_ms: 5, server_ms: 5 });
  blocks.add(report("a"));
  blocks.add(report("b"));
  assert.equal(blocks.of("1@a").length, 1);
  assert.equal(blocks.run("1@b", "users").points.length, 1);
});

test("how a server is, in a word", () => {
  for (const [more, word] of [
    [{}, "well"],
    [{ topics: [topic("users", 100)] }, "well"],
    [{ topics: [topic("users", 101)] }, "behind"],
    [{ topics: [topic("users", 0, true), topic("arrays", 0)] }, "cannot reach 1 stream"],
    [{ topics: [topic("users", 0, true)] }, "cannot reach the streams"],
    [{ state: "gone" }, "gone for 7 s"],
    [{ state: "unknown" }, "not known: nothing is heard here"],
  ]) assert.equal(serverState(server(more)).word, word);
  assert.equal(lagWords(server()), "0");
  assert.equal(lagWords(server({ topics: [topic("users", 5), topic("arrays", 1200), topic("x", 0)] })), "1,200 of arrays, 1 more");
  assert.ok(!areSeveral([]) && !areSeveral([server()]) && areSeveral([server(), server()]));
});

test("what is not well of several servers is one sentence", () => {
  const [well, gone, cut] = [server(), server({ state: "gone" }), server({ topics: [topic("users", 0, true)] })];
  for (const [servers, words] of [
    [[], ""], [[cut], ""], [[well, well], ""], [[well, gone], " Of 2 servers 1 is gone."],
    [[well, gone, gone, cut], " Of 4 servers 2 are gone, 1 is behind or cut off."], [[well, server({ state: "unknown" })], " Of 2 servers 1 is not heard."],
  ]) assert.equal(serversWords(servers), words);
});

test("a line says on which server it happened, and that one came or went", () => {
  const event = { event: "joined", time: "2026-11-22T19:00:00Z", server: "b", client: "c", address: "x", mode: "plain" };
  assert.equal(line(event).server, "b");
  assert.ok(!("server" in line({ ...event, server: undefined })));
  const peer = (more) => line({ event: "peer", time: "2026-11-22T19:00:00Z", peer: "b", ...more });
  assert.equal(peer({ state: "there" }).text, "server b is there");
  assert.equal(peer({ state: "gone" }).text, "server b is gone: it has stopped");
  const silent = peer({ state: "gone", silent_ms: 6000 });
  assert.deepEqual([silent.text, silent.mark], ["server b is gone: nothing was heard of it for 6 s", "✕"]);
});
