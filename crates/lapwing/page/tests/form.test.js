import assert from "node:assert/strict";
import { test } from "node:test";
import { age, behind, bytes, count, counted, cut, fine, name, pair, rate, short, span, visible } from "../logic/form.js";

const TABLE = [
  [count, [0, "0"], [1000, "1,000"], [undefined, "-"], [NaN, "-"]],
  [short, [0, "0.0 ms"], [0.24, "0.2 ms"], [99.9, "99.9 ms"], [99.96, "100 ms"], [480, "480 ms"], [999.6, "1.0 s"], [8800, "8.8 s"], [140_000, "2 m 20 s"], [-0.01, "0.0 ms"], [undefined, "-"]],
  [fine, [0, "<0.01 ms"], [0.01, "0.01 ms"], [0.094, "0.09 ms"], [0.2, "0.2 ms"], [480, "480 ms"], [undefined, "-"]],
  [behind, [0, "0.0 s"], [-12, "0.0 s"], [800, "0.8 s"], [8800, "8.8 s"], [140_000, "2 m 20 s"], [undefined, "-"]],
  [span, [0, "0 s"], [24_999, "24 s"], [60_000, "1 m 0 s"], [8_040_000, "2 h 14 m"], [90_000_000, "1 d 1 h"], [-5, "0 s"], [NaN, "-"]],
  [age, [24_000, "24 s"], [720_000, "12 min"], [8_040_000, "2 h"], [90_000_000, "1 d"], [NaN, "-"]],
  [bytes, [0, "0 B"], [342, "342 B"], [1023, "1023 B"], [1024, "1.0 KiB"], [32_051, "31.3 KiB"], [67_108_864, "64.0 MiB"], [undefined, "-"]],
  [rate, [0, "0.0"], [2.5, "2.5"], [99.94, "99.9"], [3500, "3,500"], [undefined, "-"]],
];
for (const [form, ...cases] of TABLE) {
  for (const [value, wanted] of cases) test(`${form.name}(${value}) is ${wanted}`, () => assert.equal(form(value), wanted));
}

test("two times stand in one unit", () => {
  assert.equal(pair(6000.1, 2000), "6.0 of 2.0 s");
  assert.equal(pair(480, 100), "480.0 of 100.0 ms");
  assert.equal(pair(480, undefined), "480 ms");
  assert.equal(pair(undefined, 2000), "-");
});

test("one is not counted in the plural", () => assert.deepEqual([counted(1, "client"), counted(2000, "client")], ["1 client", "2,000 clients"]));

test("what cannot be seen, or turns what is around it, is written out", () => {
  assert.equal(visible("\u001b[2J\u202eexe\u2066\u00ad\u{e0041}"), "\\u{1b}[2J\\u{202e}exe\\u{2066}\\u{ad}\\u{e0041}");
  assert.equal(visible("\ud800"), "\\u{d800}");
  assert.equal(visible("Zoë 林 🐦 é"), "Zoë 林 🐦 é");
});

test("a name is cut at 64 characters, and not within one", () => {
  assert.equal(name("a".repeat(64)), "a".repeat(64));
  assert.equal(name("a".repeat(65)), `${"a".repeat(63)}…`);
  assert.equal(cut(`${"a".repeat(62)}🐦🐦`, 64), `${"a".repeat(62)}…`);
  assert.equal(name(undefined), "-");
});
