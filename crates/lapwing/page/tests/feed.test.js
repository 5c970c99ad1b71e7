import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { format, parse } from "../logic/address.js";
import { Announcer, EVERY_MS } from "../logic/announcer.js";
import { line, lines as eventLines } from "../logic/event.js";
import { LINE_CHARACTERS_MAX, name } from "../logic/form.js";
import { ALL, DRAWN_PER_SECOND, LINES_MAX, Lines, TOPICS_MAX, envelope } from "../logic/lines.js";
import { Positions } from "../logic/positions.js";
import { hint, isFinal, waitMs } from "../logic/retry.js";

// As the page sets it: who, then what.
const whole = ({ client, text }) => (client === undefined ? text : `${name(client)} ${text}`);
const message = (topic, offset) => ({ topic, offset, time: `2026-11-22T19:00:00.${String(offset).padStart(6, "0")}Z`, data: "1" });

test("an envelope is read by its layout, and its data stays as it came", () => {
  assert.deepEqual(envelope('{"topic":"users","offset":41,"time":"T","data":{"n":12345678901234567890,"x":[1.0]}}'),
    { topic: "users", offset: 41, time: "T", data: '{"n":12345678901234567890,"x":[1.0]}' });
  assert.equal(envelope('{"topic":"$clients","offset":0,"time":"T","data":{}}').topic, "$clients");
  assert.equal(envelope('{"topic":"raw","offset":3,"time":"T","data_base64":"SGk="}').data, '"SGk="');
  assert.equal(envelope('{"type":"welcome"}'), undefined);
});

test("of a long message only what is shown is held", () => {
  const long = (topic, place) => envelope(`{"topic":"${topic}","offset":${place},"time":"2026-11-22T19:00:00.${String(place).padStart(6, "0")}Z","data":"${"x".repeat(1 << 20)}"}`);
  assert.equal(long("a", 0).data.length, LINE_CHARACTERS_MAX);
  assert.ok(long("a", 0).data.endsWith("x…"));
  assert.equal(long("$reports", 0).data.length, (1 << 20) + 2, "what the server tells is read whole");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  collect();
  const before = process.memoryUsage().heapUsed;
  const lines = new Lines();
  for (let place = 0; place < LINES_MAX; place += 1) lines.take(long("a", place));
  collect();
  assert.ok(process.memoryUsage().heapUsed - before < 20 * (1 << 20), "200 messages of 1 MiB are held as 200 lines");
  assert.equal(lines.show("a").length, LINES_MAX);
});

test("ten lines a second are drawn, and the others are counted", () => {
  const lines = new Lines();
  for (let offset = 0; offset < 5; offset += 1) lines.take(message("a", offset));
  assert.equal(lines.draw().length, 5);
  for (let offset = 5; offset < 355; offset += 1) lines.take(message("a", offset));
  const drawn = lines.draw();
  assert.deepEqual([drawn.length, drawn.at(-1).offset, lines.notShown], [DRAWN_PER_SECOND, 354, 340]);
});

test("what was there already is drawn at once", () => {
  const lines = new Lines();
  for (let offset = 0; offset < 40; offset += 1) lines.take(message("a", offset));
  assert.equal(lines.draw().length, 40);
});

test("a pause holds what comes, and counts what it cannot hold", () => {
  const lines = new Lines();
  lines.isPaused = true;
  for (let offset = 0; offset < LINES_MAX + 7; offset += 1) lines.take(message("a", offset));
  assert.deepEqual([lines.draw(), lines.waits, lines.notShown], [[], LINES_MAX, 7]);
  lines.isPaused = false;
  assert.equal(lines.draw().at(-1).offset, LINES_MAX + 6);
});

test("another topic shows what is held of it", () => {
  const lines = new Lines();
  for (let offset = 0; offset < 300; offset += 1) {
    lines.take(message("a", offset));
    lines.take(message("b", 1000 + offset));
  }
  assert.deepEqual([lines.show("a").length, lines.show("a").at(-1).offset], [LINES_MAX, 299]);
  assert.equal(lines.show(ALL).length, LINES_MAX);
  assert.deepEqual(lines.show("c"), []);
});

test("of more topics than are held the one that is shown is held, as long as it is", () => {
  const lines = new Lines();
  const all = () => { for (let topic = 0; topic < 100; topic += 1) lines.take(message(`t${topic}`, 0)); };
  all();
  assert.deepEqual([lines.show(`t${TOPICS_MAX - 1}`).length, lines.show(`t${TOPICS_MAX}`).length], [1, 0]);
  all();
  all();
  assert.equal(lines.draw().length, 2);
  assert.equal(lines.show(`t${TOPICS_MAX}`).length, 2, "shown once more it is still there");
  assert.equal(lines.show(ALL).length, 3 * TOPICS_MAX);
  all();
  assert.equal(lines.show(`t${TOPICS_MAX}`).length, 0, "not shown, it is let go");
  assert.equal(lines.show("t99").length, 0);
  all();
  assert.deepEqual([lines.show("t0").length, lines.show("t99").length], [5, 0]);
});

test("a topic that is shown before anything came is held like any other", () => {
  const lines = new Lines();
  lines.show("a");
  for (let topic = 0; topic < 100; topic += 1) lines.take(message(`t${topic}`, 0));
  lines.take(message("a", 0));
  lines.show("t0");
  lines.take(message("a", 1));
  assert.equal(lines.show("a").length, 2);
});

test("a position is what comes next, and is asked for again", () => {
  const positions = new Positions();
  assert.deepEqual(positions.request("users", "last:20"), { from: "last:20" });
  assert.equal(positions.onSubscribed({ topic: "users", epoch: "e", from: 40, next: 42 }), false);
  assert.equal(positions.onMessage("users", 40), false);
  assert.equal(positions.onMessage("users", 42), true);
  assert.deepEqual(positions.request("users", "last:20"), { epoch: "e", offset: 43 });
  positions.onGap({ topic: "users", to: 90 });
  assert.deepEqual(positions.request("users", "last:20"), { epoch: "e", offset: 90 });
  assert.equal(positions.onSubscribed({ topic: "users", epoch: "f", from: 0, next: 5 }), true);
  assert.deepEqual(positions.request("users", "last:20"), { epoch: "f", offset: 0 });
  assert.equal(positions.has("users"), true);
  positions.forget("users");
  assert.deepEqual([positions.has("users"), positions.request("users", "last:20")], [false, { from: "last:20" }]);
  positions.onGap({ topic: "none", to: 90 });
  assert.equal(positions.onMessage("none", 3), true);
});

test("an event is a sentence that begins with its client", () => {
  const slow = line({ event: "slow", time: "T", client: "sensor-2", topic: "arrays", behind_ms: 8800, blocks: 2, cause: "network slow" });
  assert.deepEqual([slow.mark, slow.colour, whole(slow)], ["◆", "network", "sensor-2 is 8.8 s behind on arrays after 2 blocks: network slow"]);
  assert.equal(whole(line({ event: "left", client: "a", stayed_ms: 52_900, code: 1006, by: "network", reason: "connection reset", messages: 183, bytes: 32_051 })),
    "a left after 52.9 s: 1006, connection reset; 183 messages, 31.3 KiB");
  const left = (by, reason, more = {}) => line({ event: "left", client: "a", stayed_ms: 1463, code: 1000, by, reason, messages: 5, bytes: 520, last: { arrays: 54 }, ...more }).text;
  assert.equal(left("client", ""), "left after 1.5 s: 1000, it closed; 5 messages, 520 B, arrays 54");
  assert.equal(left("client", "we closed"), 'left after 1.5 s: 1000, it closed: "we closed"; 5 messages, 520 B, arrays 54');
  assert.equal(left("server", ""), "left after 1.5 s: 1000, we closed; 5 messages, 520 B, arrays 54");
  assert.equal(left("server", "took nothing for 30 s"), "left after 1.5 s: 1000, took nothing for 30 s, we closed; 5 messages, 520 B, arrays 54");
  assert.equal(left("network", "", { stayed_ms: 59_980, last: {} }), "left after 1 m 0 s: 1000, the connection broke; 5 messages, 520 B");
  assert.equal(left("client", "", { missed: { users: 12 }, behind: { users: 4212, arrays: 1 }, gone: { users: 3900 } }),
    "left after 1.5 s: 1000, it closed; 5 messages, 520 B, arrays 54; missed 12 of users; behind by 4,212 of users, 1 of arrays; no longer kept 3,900 of users");
  assert.equal(whole(line({ event: "joined", client: "a", address: "127.0.0.1:1", mode: "plain", from: { users: 13 }, waiting: 6 })),
    "a joined from 127.0.0.1:1 (plain): users 13; 6 messages to catch up");
  const joined = (more) => line({ event: "joined", client: "a", address: "127.0.0.1:1", mode: "lapwing.v1", from: { users: 13, arrays: 35 }, waiting: 0, ...more }).text;
  assert.equal(joined({ who: "web" }), 'joined from 127.0.0.1:1 (lapwing.v1) as "web": users 13, arrays 35');
  assert.equal(joined({ who: "web", away_ms: 1302 }), 'is back after 1.3 s as "web": users 13, arrays 35');
  assert.equal(joined({ mode: "echo", from: {} }), "joined from 127.0.0.1:1 (echo): its messages go back");
  assert.equal(whole(line({ event: "gap", client: "a", topic: "t", from: 42, to: 50, reason: "retention" })),
    "a missed t 42-49 (8 messages): it was further behind than the topic keeps");
  assert.equal(whole(line({ event: "gap", client: "a", topic: "t", from: 42, to: 50, reason: "a word of later" })), "a missed t 42-49 (8 messages): a word of later");
  const still = line({ event: "slow", time: "T", client: "a", topic: "t", behind_ms: 8800, cause: "client slow" });
  assert.equal(whole(still), "a is 8.8 s behind on t still, and now it is: client slow");
  const silent = line({ event: "silent", time: "T", client: "a", topic: "t", quiet_ms: 24_100, cause: "silent" });
  assert.deepEqual([silent.mark, silent.word, whole(silent)], ["◇", "slow", "a is silent on t: no report for 24 s, no answer to a ping"]);
  assert.equal(line({ event: "said", client: "a", text: "hi", left_out: 2000 }).text, '"hi" and 2,000 more bytes');
  assert.equal(line({ event: "said", client: "a", binary_bytes: 3, begins: "00ff" }).text, "3 bytes: 00ff");
  assert.equal(line({ event: "a word of later" }).text, "a word of later");
  assert.equal(line({ event: "source", topic: "t", text: "\u001b[2J" }).text, "t: \\u{1b}[2J");
});

test("a crowd of one kind in one second is one line, other seconds and kinds are not", () => {
  const joined = (second, session) => ({ event: "joined", time: `2026-11-22T19:00:${second}.000000Z`, client: `c${session}`, address: "x", mode: "plain" });
  const crowd = Array.from({ length: 1000 }, (_, session) => joined("01", session));
  const made = eventLines([joined("00", 1), ...crowd, { event: "source", time: "2026-11-22T19:00:01Z", topic: "t", text: "x" }]);
  assert.deepEqual(made.map(whole), ["c1 joined from x (plain): no topic yet", "1,000 joined in 1 s", "t: x"]);
  assert.equal(eventLines(crowd.slice(0, 20)).length, 20);
});

test("at most one sentence in ten seconds, the latest, with how many it replaces", () => {
  const announcer = new Announcer();
  assert.equal(announcer.due(0), undefined);
  announcer.change("one");
  assert.equal(announcer.due(0), "one");
  announcer.change("two");
  announcer.change("three");
  assert.equal(announcer.due(EVERY_MS - 1), undefined);
  assert.equal(announcer.due(EVERY_MS), "three (1 change before this.)");
  assert.equal(announcer.due(9 * EVERY_MS), undefined);
});

test("the address keeps search, filter, sort and pins", () => {
  const asked = { search: "a&b #c", filter: "slow", sort: "rtt", turned: true, pins: new Set(["sensor,1", "ü"]) };
  assert.deepEqual(parse(format(asked)), asked);
  const usual = { search: "", filter: "all", sort: "behind", turned: false, pins: new Set() };
  assert.equal(format(usual), "");
  assert.deepEqual(parse(""), usual);
  assert.deepEqual(parse("#filter=__proto__&sort=-nothing"), usual);
  assert.equal(parse(`#${Array.from({ length: 50 }, (_, place) => `pin=${place}`).join("&")}`).pins.size, 12);
});

test("a close code says whether to come back, and its reason when", () => {
  assert.deepEqual([1001, 1006, 1011, 1012, 4400, 4408, 4429].map(isFinal), Array(7).fill(false));
  assert.deepEqual([1000, 1002, 1003, 1007, 1008, 1009, 4500, 4501].map(isFinal), Array(8).fill(true));
  assert.equal(hint("server restarts retry=1500 users=60"), 1500);
  assert.equal(hint("took nothing for 30 s"), undefined);
  assert.equal(waitMs(1, 0.5, 1000), 1000);
  assert.ok(waitMs(1, 1, undefined) <= 250 && waitMs(50, 1, undefined) === 10_000 && waitMs(9, 0, undefined) >= 100);
});
