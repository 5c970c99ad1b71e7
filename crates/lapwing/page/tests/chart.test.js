import assert from "node:assert/strict";
import { test } from "node:test";
import { Blocks, CHARTS_MAX, KEPT_MS, RUNS_MAX, STRIP_COLUMNS, columns, top } from "../logic/blocks.js";
import { Delivery, POINTS } from "../logic/delivery.js";
import { Outages } from "../logic/outages.js";

const START = Date.parse("2026-11-22T19:00:00Z");
const told = (second, messages, started = "s") => ({ started, time: new Date(START + second * 1000).toISOString(), delivered: { messages } });
const report = (session, second, elapsed, more = {}) => ({
  session, client: `c${session}`, topic: "arrays", time: new Date(START + second * 1000).toISOString(), block: second, blocks: 1, block_size: 5,
  elapsed_ms: elapsed, server_ms: 2000, drift_ms: elapsed - 2000, flags: [], ...more,
});

test("delivery is a point a second, and a second without one is a gap", () => {
  const delivery = new Delivery();
  for (const [second, messages] of [[0, 0], [1, 100], [2, 300], [10, 9000], [11, 9050]]) delivery.on(told(second, messages));
  const [seconds, rates] = delivery.columns(START + 11_000);
  assert.deepEqual([seconds.length, rates.length, seconds.at(-1)], [POINTS, POINTS, START / 1000 + 11]);
  assert.deepEqual(rates.slice(-11), [null, 150, null, null, null, null, null, null, null, null, null]);
});

test("an answer that is a little late leaves no gap, and another server is not compared", () => {
  const delivery = new Delivery();
  delivery.on(told(0, 0));
  delivery.on(told(2.5, 250));
  assert.deepEqual(delivery.columns(START + 2500)[1].slice(-2), [null, 100]);
  delivery.on(told(3, 10, "another"));
  assert.equal(delivery.columns(START + 3000)[1].at(-1), null);
  delivery.interrupt();
  delivery.on(told(4, 9999, "another"));
  assert.equal(delivery.columns(START + 4000)[1].at(-1), null);
});

test("a source that makes many at once every two seconds is no comb", () => {
  const delivery = new Delivery();
  for (let second = 0; second <= 60; second += 1) delivery.on(told(second, Math.floor(second / 2) * 10));
  assert.deepEqual(new Set(delivery.columns(START + 60_000)[1].slice(-50)), new Set([5]));
});

test("ten minutes are kept, and told by the minute", () => {
  const delivery = new Delivery();
  for (let second = 0; second <= 2000; second += 1) delivery.on(told(second, second * 10));
  assert.equal(delivery.size, POINTS);
  const [last] = delivery.minutes(START + 2_000_000);
  assert.deepEqual([last.mean, last.least, last.most], [10, 10, 10]);
});

test("a report with a flag is a gap, and several blocks count one by one", () => {
  const blocks = new Blocks();
  blocks.add(report(1, 0, 2000));
  blocks.add(report(1, 2, 9000, { flags: ["interrupted"] }));
  blocks.add(report(1, 4, 6000, { blocks: 3, server_ms: 6000 }));
  assert.deepEqual(columns(blocks.run(1, "arrays"), []), [[0, 2, 4].map((second) => START / 1000 + second), [2000, null, 2000], [2000, null, 2000]]);
});

test("no line bridges a time in which nothing was heard", () => {
  const blocks = new Blocks();
  blocks.add(report(1, 0, 2000));
  blocks.add(report(1, 60, 2000));
  const at = START / 1000;
  for (const outage of [[at + 10, at + 50], [at - 5, at + 20], [at + 30, at + 90]]) {
    const [seconds, client] = columns(blocks.run(1, "arrays"), [outage]);
    assert.deepEqual(client, [2000, null, 2000]);
    assert.ok(seconds[0] < seconds[1] && seconds[1] < seconds[2], seconds.join());
  }
  for (const outside of [[at - 5, at], [at + 60, at + 90]]) assert.deepEqual(columns(blocks.run(1, "arrays"), [outside])[1], [2000, 2000]);
});

test("outages are cut to what is drawn", () => {
  const outages = new Outages();
  outages.begin(10);
  outages.begin(12);
  assert.deepEqual(outages.within(0, 20), [[10, 20]]);
  outages.end(15);
  outages.end(16);
  outages.begin(30);
  assert.deepEqual([outages.within(12, 40), outages.within(16, 29)], [[[12, 15], [30, 40]], []]);
});

test("the pinned and the slowest are drawn, at most twelve", () => {
  const blocks = new Blocks();
  const rows = new Map();
  for (let session = 1; session <= 40; session += 1) {
    blocks.add(report(session, 0, 2000));
    rows.set(session, { behind_ms: 100 * session, topics: [{ topic: "arrays", behind_ms: 100 * session }] });
  }
  blocks.add(report(99, 0, 2000));
  const chosen = blocks.chosen(rows, new Set(["c3"])).map(({ session }) => session);
  assert.deepEqual([chosen.length, chosen.slice(0, 3)], [CHARTS_MAX, [3, 40, 39]]);
  const silent = rows.set(7, { cause: "silent", behind_ms: 1, topics: [] });
  assert.deepEqual(blocks.chosen(silent, new Set()).slice(0, 2).map(({ session }) => session), [7, 40], "who does not keep up comes first");
});

test("all others lie on the strip by time and ratio", () => {
  const blocks = new Blocks();
  blocks.add(report(1, 0, 2000));
  blocks.add(report(2, 0, 2000));
  blocks.add(report(2, 299, 9000));
  blocks.add(report(3, 10, 100, { server_ms: null }));
  const { cells, clients } = blocks.density(START + KEPT_MS, new Set([1]));
  assert.equal(clients, 1);
  assert.deepEqual([cells[0], cells[STRIP_COLUMNS - 1]], [[0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0]]);
});

test("the strip goes on with the time, and counts who is drawn one by one not twice", () => {
  const blocks = new Blocks();
  for (let second = 0; second < 700; second += 2) {
    blocks.add(report(1, second, 2000));
    blocks.add(report(2, second, 4000));
    blocks.add(report(2, second, 9000, { flags: ["interrupted"] }));
  }
  const now = START + 700_000;
  const sums = (cells) => cells.reduce((sum, column) => sum.map((value, row) => value + column[row]), [0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(sums(blocks.density(now, new Set()).cells), [0, 150, 0, 0, 150, 0, 0]);
  const { cells, clients } = blocks.density(now, new Set([1]));
  assert.deepEqual([sums(cells), clients], [[0, 0, 0, 0, 150, 0, 0], 1]);
  blocks.forget(now + KEPT_MS + 1);
  assert.deepEqual(blocks.density(now + KEPT_MS + 1, new Set([1])).clients, 0);
});

test("when as many are held as may be, only who is slow or pinned comes in, and for one who is neither", () => {
  const blocks = new Blocks();
  const pins = new Set(["c1", "c900001"]);
  const has = (session) => blocks.run(session, "arrays") !== undefined;
  blocks.add(report(1, 0, 2000), pins);
  blocks.add(report(2, 0, 9000, { cause: "client slow" }), pins);
  for (let session = 3; session <= RUNS_MAX; session += 1) blocks.add(report(session, 0, 2000, { cause: "source-limited" }), pins);
  blocks.add(report(900_000, 1, 2000, { cause: "source-limited" }), pins);
  assert.deepEqual([has(3), has(900_000)], [true, false], "who is there stays");
  blocks.add(report(900_001, 1, 2000, { cause: "source-limited" }), pins);
  blocks.add(report(900_002, 1, 9000, { cause: "silent" }), pins);
  assert.deepEqual([1, 2, 3, 4, 5, 900_001, 900_002].map(has), [true, true, false, false, true, true, true]);
  assert.equal(blocks.density(START + KEPT_MS, new Set()).clients, RUNS_MAX + 3, "all are on the strip");
  blocks.forget(START + KEPT_MS + 500);
  blocks.add(report(900_003, 300, 2000, { cause: "source-limited" }), pins);
  assert.deepEqual([has(5), has(900_003)], [false, true], "what is forgotten makes room");
});

test("all runs together hold so many points, and the newest of each", () => {
  const blocks = new Blocks();
  for (let second = 0; second < 100; second += 1) for (let session = 1; session <= 3000; session += 1) blocks.add(report(session, second, 2000));
  const held = Array.from({ length: 3000 }, (_, place) => blocks.run(1 + place, "arrays").points);
  assert.equal(held.reduce((sum, points) => sum + points.length, 0), 200_000);
  assert.ok(held.every((points) => points.length > 60 && points.at(-1).block === 99));
});

test("what is older than five minutes goes", () => {
  const blocks = new Blocks();
  blocks.add(report(1, 0, 2000));
  blocks.add(report(2, 10, 2000));
  blocks.forget(START + KEPT_MS + 5000);
  assert.deepEqual([blocks.of(1), blocks.of(2).length, blocks.isEmpty], [[], 1, false]);
  blocks.clear();
  assert.equal(blocks.isEmpty, true);
});

test("one scale: what sources took fits, and up to four times of it", () => {
  const of = (...elapsed) => {
    const blocks = new Blocks();
    elapsed.forEach((ms, second) => blocks.add(report(1, second, ms)));
    return top(blocks.of(1));
  };
  assert.equal(of(2000), 2600);
  assert.equal(of(2000, 100_000), 8000);
  assert.equal(of(2000, 4000), 4600);
});
