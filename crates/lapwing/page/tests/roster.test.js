import assert from "node:assert/strict";
import { test } from "node:test";
import { isSlow, lag, ratio, reports, silentMs, worst } from "../logic/client.js";
import { Order, isWanted, sorted } from "../logic/order.js";
import { ROWS_MAX, Roster } from "../logic/roster.js";

const row = (session, more = {}) => ({ session, client: `sensor-${session}`, cause: "source-limited", address: "127.0.0.1:5", topics: [], ...more });
const answer = (rows, more = {}) => ({ clients: rows.length, counts: { "source-limited": rows.length }, rows, ...more });
const ALL = { filter: "all", search: "", sort: "behind", turned: false };

test("a list, then what changes, gives what there is", () => {
  const roster = new Roster();
  assert.equal(roster.loaded, false);
  roster.load(answer([row(1), row(2)]));
  roster.apply(row(2, { cause: "client slow" }));
  roster.apply(row(3));
  roster.apply({ session: 1, left: true });
  roster.apply({ summary: { clients: 2, counts: { "source-limited": 1, "client slow": 1 } } });
  assert.deepEqual([...roster.rows.keys()], [2, 3]);
  assert.equal(roster.rows.get(2).cause, "client slow");
  assert.deepEqual(roster.others, { total: 2, counts: { "source-limited": 1, "client slow": 1 } });
});

test("a list that begins anew forgets who was there before", () => {
  const roster = new Roster();
  roster.load({ clients: 2, counts: { "source-limited": 2 }, rows: [row(1), row(2)] });
  roster.apply({ summary: { clients: 1, counts: { "source-limited": 1 }, begins: true } });
  roster.apply(row(2));
  assert.deepEqual([...roster.rows.keys()], [2]);
});

test("a new list forgets who is not in it", () => {
  const roster = new Roster();
  roster.load(answer([row(1), row(2)]));
  roster.load(answer([row(2)]));
  assert.deepEqual([...roster.rows.keys()], [2]);
});

test("the page does not count itself", () => {
  const roster = new Roster();
  roster.own = 9;
  roster.load({ clients: 1, counts: { unclear: 1 }, rows: [row(9, { cause: "unclear" })] });
  assert.deepEqual(roster.others, { total: 0, counts: { unclear: 0 } });
  assert.equal(roster.rows.size, 0);
  roster.load({ clients: 2000, counts: { unclear: 2000 }, rows: [row(1, { cause: "unclear" })] });
  assert.deepEqual(roster.others, { total: 1999, counts: { unclear: 1999 } });
});

test("of more than it may hold the farthest behind stay", () => {
  const roster = new Roster();
  roster.load(answer([]));
  for (let session = 1; session <= ROWS_MAX; session += 1) roster.apply(row(session, { behind_ms: session }));
  assert.equal(roster.rows.size, ROWS_MAX);
  roster.apply(row(ROWS_MAX + 1, { behind_ms: 1e9 }));
  assert.ok(roster.rows.size < ROWS_MAX && roster.rows.has(ROWS_MAX + 1) && !roster.rows.has(1));
});

test("rows come in the order asked for; who has no value comes last", () => {
  const rows = [row(1, { behind_ms: 500 }), row(2), row(3, { behind_ms: 900 }), row(4, { behind_ms: 540 })];
  assert.deepEqual(sorted(rows, ALL), [3, 1, 4, 2]);
  assert.deepEqual(sorted(rows, { ...ALL, turned: true }), [1, 4, 3, 2]);
  const bad = [row(5, { cause: "silent", behind_ms: 900 }), row(6, { cause: "client slow", behind_ms: 200 })];
  assert.deepEqual(sorted([...rows, ...bad], ALL), [6, 5, 3, 1, 4, 2], "who does not keep up comes first, then who is farther behind by a tenth of a second");
  assert.deepEqual(sorted([row(1, { client: "b" }), row(2, { client: "A" })], { sort: "name", turned: false }), [2, 1]);
});

test("a held order keeps its rows where they are, and says how many would move", () => {
  const order = new Order();
  const rows = new Map([1, 2, 3].map((session) => [session, row(session, { behind_ms: 1000 - 100 * session })]));
  order.refresh(rows, ALL, false, 0);
  assert.deepEqual(order.sessions, [1, 2, 3]);
  rows.set(3, row(3, { behind_ms: 9900 }));
  rows.delete(2);
  rows.set(4, row(4, { behind_ms: 9800 }));
  order.refresh(rows, ALL, true, 60_000);
  assert.deepEqual([order.sessions, order.moves], [[1, 2, 3, 4], 4]);
  order.refresh(rows, ALL, false, 60_001);
  assert.deepEqual([order.sessions, order.moves], [[3, 4, 1], 0]);
});

test("rows are sorted every five seconds, and at once when another order is asked for", () => {
  const order = new Order();
  const rows = new Map([1, 2].map((session) => [session, row(session, { behind_ms: 1000 - 100 * session })]));
  order.refresh(rows, ALL, false, 0);
  rows.set(2, row(2, { behind_ms: 9900 }));
  order.refresh(rows, ALL, false, 4999);
  assert.deepEqual(order.sessions, [1, 2]);
  order.refresh(rows, ALL, false, 5000);
  assert.deepEqual(order.sessions, [2, 1]);
  order.refresh(rows, { ...ALL, turned: true }, true, 5001);
  assert.deepEqual(order.sessions, [1, 2]);
});

test("filter and search say who is listed", () => {
  assert.equal(isWanted(row(1), { filter: "slow", search: "" }), false);
  assert.equal(isWanted(row(1, { cause: "silent" }), { filter: "slow", search: "" }), true);
  assert.equal(isWanted(row(1, { cause: "unclear" }), { filter: "quiet", search: "" }), true);
  for (const cause of ["source-limited", "silent"]) assert.equal(isWanted(row(1, { cause }), { filter: "quiet", search: "" }), false);
  assert.equal(isWanted(row(1, { client: "Sensor-2" }), { filter: "all", search: " SENSOR " }), true);
  assert.equal(isWanted(row(1), { filter: "all", search: "127.0" }), true);
  assert.equal(isWanted(row(1, { client: undefined }), { filter: "nothing known", search: "x" }), false);
});

test("a row speaks of the topic that is worst off", () => {
  const topics = [{ topic: "a" }, { topic: "b", block: 1, behind_ms: 300, elapsed_ms: 6, server_ms: 2, lag: 1 }, { topic: "c", block: 1, behind_ms: 100, lag: 7, reported_at: "2026-11-22T19:00:00Z" }];
  const of = row(1, { topics });
  assert.equal(worst(of).topic, "b");
  assert.equal(ratio(of), 3);
  assert.equal(lag(of), 7);
  assert.equal(reports(of), true);
  assert.equal(silentMs(of, Date.parse("2026-11-22T19:00:24Z")), 24_000);
  assert.deepEqual([worst(row(1)), ratio(row(1)), lag(row(1)), reports(row(1)), silentMs(row(1), 0), isSlow(row(1))], [undefined, undefined, undefined, false, undefined, false]);
});
