// The page: is it well, if not who, whose fault, and the proof. It is a Lapwing client like any other: one connection, positions, resume.
// Text from feeds and clients only ever enters the document as text (view/dom.js).
import { PINS_MAX, format, parse } from "./logic/address.js";
import { Blocks } from "./logic/blocks.js";
import { slowCount } from "./logic/cause.js";
import { Delivery } from "./logic/delivery.js";
import { count, span, visible } from "./logic/form.js";
import { ALL, Lines, envelope } from "./logic/lines.js";
import { Order, SORTS } from "./logic/order.js";
import { Outages } from "./logic/outages.js";
import { Positions } from "./logic/positions.js";
import { Roster } from "./logic/roster.js";
import { areSeveral } from "./logic/servers.js";
import { Link } from "./link.js";
import { BlockCharts } from "./view/blocks.js";
import { Clients } from "./view/clients.js";
import { DeliveryPlot } from "./view/delivery.js";
import { Details } from "./view/details.js";
import { element, setClass, setText } from "./view/dom.js";
import { Events } from "./view/events.js";
import { Filters } from "./view/filters.js";
import { Keys } from "./view/keys.js";
import { Messages } from "./view/messages.js";
import { startTheme, turnTheme } from "./view/theme.js";
import { Servers } from "./view/servers.js";
import { Topics } from "./view/topics.js";
import { Verdict } from "./view/verdict.js";

const TICK_MS = 1000;
// A connection follows at most 100 topics; three of them are the server's own.
const FOLLOWED_MAX = 97;
const CLIENTS_MAX = 1000;
const FOUND_MAX = 200;
const REPORTS_MAX = 10_000;
// What failed is tried again so much later.
const AGAIN_MS = 10_000;
// A tab that is hidden for a moment goes on.
const HIDE_AFTER_MS = 1000;
const SEARCH_AFTER_MS = 300;
const REWATCH_AFTER_MS = 5000;
const CHARTS_EVERY_MS = 1000;
// With `prefers-reduced-motion` lines grow by steps.
const CHARTS_EVERY_MS_CALM = 5000;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const positions = new Positions();
const roster = new Roster();
const order = new Order();
const blocks = new Blocks();
const delivery = new Delivery();
const outages = new Outages();
const lines = new Lines();
// Whether this page may know of clients: `unknown`, `allowed`, `denied`, `absent`.
const state = { watch: "unknown", roster, topics: undefined, lateMs: undefined, nowMs: Date.now() };

let asked = parse(location.hash);
let topicNames = [];
let followed = new Set();
let isSuspended = false;
// How far the server's clock is ahead of this one's.
let aheadMs = 0;
let server = {};
// The servers that share the topics; none where there is one alone.
let servers = [];
let serversAt = 0;
let topicsAt = 0;
let isAskingTopics = false;
let clientsAt = 0;
// What is under way for an earlier connection does not count any more.
let generation = 0;
let chartsAt = 0;
let searchTimer;
let hideTimer;
let rewatchTimer;
let hint = "";
const measured = new Map();
let measuredRates = new Map();

const link = new Link({ onState, onFrame });
const verdict = new Verdict((session) => openDetails(session));
const serversView = new Servers();
const topicsView = new Topics(() => draw());
const deliveryPlot = new DeliveryPlot(delivery);
const clients = new Clients({ onOpen: (session) => openDetails(session), onSort: sortBy });
const blockCharts = new BlockCharts((session) => openDetails(session));
const details = new Details({ onPin: togglePin, onClose: (session) => clients.focus(session) });
const messages = new Messages(lines, showTopic);
const events = new Events();
const filters = new Filters({
  onFilter: (filter) => ask({ filter }),
  onSearch: (search) => { ask({ search }); searchServer(search); },
});

// The connection.

function onState() {
  const now = serverNow() / 1000;
  if (link.state === "live") outages.end(now);
  else if (link.state === "lost" || link.state === "gate" || link.state === "ended") {
    outages.begin(now);
    delivery.interrupt();
    generation += 1;
  }
  element("gate").hidden = link.state !== "gate";
  if (link.state === "gate") element("token").focus();
  draw();
}

function onFrame(frame, text) {
  if (frame === undefined) return onMessage(text);
  switch (frame.type) {
    case "welcome": return onWelcome(frame);
    case "subscribed": return onSubscribed(frame);
    case "gap": return onGap(frame);
    case "error": return onError(frame);
    default: return undefined;
  }
}

function onWelcome(welcome) {
  generation += 1;
  [followed, isSuspended, topicNames, topicsAt] = [new Set(), false, welcome.topics, 0];
  [server.version, roster.own, state.watch] = [welcome.server, welcome.session, "unknown"];
  messages.offer(topicNames);
  followAll();
  if (document.hidden) hide();
}

function followAll() {
  lines.catchUp();
  // First, so that what is refused is this: who may follow it may know the rest.
  follow("$events");
  for (const topic of topicNames.slice(0, FOLLOWED_MAX)) follow(topic);
  follow(lines.shown);
  askTopics();
}

function follow(topic) {
  if (topic === ALL || followed.has(topic) || isSuspended) return;
  if (followed.size >= FOLLOWED_MAX + 3) {
    const other = [...followed].findLast((name) => !name.startsWith("$"));
    unfollow(other);
  }
  followed.add(topic);
  link.send({ type: "subscribe", topic, ...positions.request(topic, topic === "$events" ? "last:200" : "last:20") });
}

function unfollow(topic) {
  if (followed.delete(topic)) link.send({ type: "unsubscribe", topic });
}

// Of what nothing is held the last messages come once more.
function showTopic(topic, isHeld) {
  if (topic !== ALL && !isHeld && !isSuspended) {
    unfollow(topic);
    positions.forget(topic);
    lines.catchUp();
  }
  follow(topic);
}

function onSubscribed(subscribed) {
  const isOther = positions.onSubscribed(subscribed);
  if (subscribed.topic === "$events" && state.watch !== "allowed") {
    state.watch = "allowed";
    watch();
  }
  // Another history: its numbers of connections mean others.
  if (subscribed.topic === "$reports" && isOther) {
    blocks.clear();
    details.close();
  }
  if (subscribed.topic === "$clients" && subscribed.answer !== "ok") rewatchClients();
}

function onGap(gap) {
  positions.onGap(gap);
  if (gap.topic === "$clients") rewatchClients();
}

// Changes were missed, so the list is not what it was; a page that is that slow asks with pauses. What changes meanwhile is in the new
// list; and should that not come, it is seen from what is not followed (`tick`) that it is to be asked for again.
function rewatchClients() {
  unfollow("$clients");
  clearTimeout(rewatchTimer);
  rewatchTimer = setTimeout(() => { if (link.state === "live" && !isSuspended) watchClients(); }, Math.max(0, clientsAt + REWATCH_AFTER_MS - Date.now()));
}

function onError(error) {
  if (state.watch !== "unknown" || (error.topic !== undefined && error.topic !== "$events")) return;
  followed.delete("$events");
  state.watch = error.code === "not_allowed" ? "denied" : "absent";
  roster.clear();
}

// Clients and reports: what there is already, then what changes.
async function watch() {
  const mine = generation;
  await askServers();
  if (mine !== generation) return;
  watchClients();
  if (positions.request("$reports").epoch === undefined) {
    const answer = await link.ask(`/api/reports?limit=${REPORTS_MAX}`);
    if (mine !== generation) return;
    if (answer !== undefined) {
      for (const report of answer.reports) blocks.add(report, asked.pins);
      positions.set("$reports", answer.position.epoch, answer.position.offset);
    }
  }
  follow("$reports");
}

async function watchClients() {
  const mine = generation;
  clientsAt = Date.now();
  const answer = await link.ask(`/api/clients?limit=${CLIENTS_MAX}`);
  if (mine !== generation || answer === undefined) return;
  const { epoch, offset } = answer.position;
  roster.load(answer);
  followed.delete("$clients");
  positions.set("$clients", epoch, offset);
  follow("$clients");
  draw();
}

function onMessage(text) {
  const message = envelope(text);
  if (message === undefined || !positions.has(message.topic)) return undefined;
  const isNew = positions.onMessage(message.topic, message.offset);
  switch (message.topic) {
    case "$clients": return roster.apply(JSON.parse(message.data));
    case "$reports": return blocks.add(JSON.parse(message.data), asked.pins);
    case "$events": return events.take(JSON.parse(message.data));
    default:
  }
  if (isNew) measure(message.topic, text.length);
  lines.take(message);
  return undefined;
}

// The page's own count, for servers that do not tell.
function measure(topic, size) {
  const known = measured.get(topic) ?? { messages: 0, bytes: 0 };
  measured.set(topic, { messages: known.messages + 1, bytes: known.bytes + size });
}

async function askTopics() {
  if (isAskingTopics || isSuspended || Date.now() < topicsAt) return;
  isAskingTopics = true;
  const mine = generation;
  const answer = await link.ask("/api/topics");
  isAskingTopics = false;
  if (mine !== generation) return;
  if (answer === undefined) {
    topicsAt = Date.now() + AGAIN_MS;
    return;
  }
  aheadMs = Date.parse(answer.time) - Date.now();
  [state.topics, state.lateMs, server] = [answer.topics, answer.late_ms, { version: answer.server, started: answer.started }];
  delivery.on(answer);
  const names = answer.topics.map(({ topic }) => topic);
  if (names.length > 0) messages.offer(names);
}

// Who else has these topics, and how far each is behind. A server that does not tell has no others.
async function askServers() {
  serversAt = Date.now();
  const mine = generation;
  const answer = await link.ask("/api/servers");
  if (mine !== generation) return;
  // One that shares its topics with nobody never will.
  if (answer?.servers.length === 0) serversAt = Infinity;
  servers = answer?.servers ?? [];
  state.servers = servers;
  roster.home = servers.find(({ self }) => self)?.server;
}

// A search beyond the rows that are here.
function searchServer(search) {
  clearTimeout(searchTimer);
  if (search.trim() === "" || !roster.isPart) return;
  searchTimer = setTimeout(async () => {
    const mine = generation;
    const answer = await link.ask(`/api/clients?limit=${FOUND_MAX}&search=${encodeURIComponent(search.trim())}`);
    if (mine !== generation || answer === undefined) return;
    roster.add(answer.rows);
    draw();
  }, SEARCH_AFTER_MS);
}

// A tab that nobody sees follows nothing, and goes on where it was when it is seen again.

function hide() {
  clearTimeout(hideTimer);
  hideTimer = setTimeout(() => {
    if (!document.hidden || isSuspended || link.state !== "live") return;
    generation += 1;
    isSuspended = true;
    for (const topic of followed) link.send({ type: "unsubscribe", topic });
    followed = new Set();
    outages.begin(serverNow() / 1000);
    delivery.interrupt();
  }, HIDE_AFTER_MS);
}

function show() {
  clearTimeout(hideTimer);
  link.wake();
  if (isSuspended && link.state === "live") {
    isSuspended = false;
    outages.end(serverNow() / 1000);
    const mayWatch = state.watch === "allowed";
    followAll();
    if (mayWatch) watch();
  }
  tick();
}

// What the reader does.

// `words`: what is said about it, until something else is asked for.
function ask(change, words = "") {
  hint = words;
  asked = { ...asked, ...change };
  history.replaceState(null, "", `${location.pathname}${location.search}${format(asked)}`);
  draw();
}

function sortBy(column) {
  ask(asked.sort === column ? { turned: !asked.turned } : { sort: column, turned: false });
}

function nextSort() {
  const columns = [...SORTS.keys()].filter((column) => column !== "server" || areSeveral(servers));
  ask({ sort: columns[(columns.indexOf(asked.sort) + 1) % columns.length], turned: false });
}

function togglePin(client) {
  const pins = new Set(asked.pins);
  if (pins.delete(client)) return ask({ pins });
  if (pins.size >= PINS_MAX) return ask({}, `${PINS_MAX} are pinned already; unpin one first`);
  return ask({ pins: pins.add(client) });
}

function openDetails(session) {
  details.open(roster.rows.get(session));
  draw();
}

function enter() {
  const entered = element("token").value.trim();
  element("token").value = "";
  if (/^[!-~]+$/.test(entered)) link.enter(entered);
}

// The picture.

function serverNow() {
  return Date.now() + aheadMs;
}

function tick() {
  measuredRates = new Map(measured);
  measured.clear();
  link.check(Date.now());
  if (document.hidden) return;
  if (link.state === "live") {
    askTopics();
    if (state.watch === "allowed" && Date.now() - serversAt >= (servers.length > 0 ? TICK_MS - 100 : AGAIN_MS)) askServers();
    if (state.watch === "allowed" && !followed.has("$clients") && Date.now() - clientsAt > AGAIN_MS) watchClients();
  }
  requestAnimationFrame(draw);
}

function draw() {
  state.nowMs = serverNow();
  const isLive = link.state === "live";
  drawHead(isLive);
  setClass(document.querySelector("main"), !isLive && link.heardAt > 0 ? "stale" : "");
  verdict.draw(state, link, Date.now());
  drawTopics();
  serversView.draw(servers);
  const why = state.watch === "denied" ? "Shown only to those who may watch." : state.watch === "absent" ? "This server does not tell." : undefined;
  drawClients(isLive, why);
  drawCharts(why);
  messages.draw(topicNames.length === 0 ? "This server has no topics." : waitingWords());
  events.draw(why);
  details.draw({
    rows: roster.rows, blocks, pins: asked.pins, nowMs: state.nowMs, seenMs: seenMs(isLive), outages: outages.within(0, state.nowMs / 1000), isStale: !isLive,
  });
}

// What is old does not get older while it is shown.
function seenMs(isLive) {
  return isLive ? state.nowMs : link.heardAt + aheadMs;
}

function drawHead(isLive) {
  setText(element("version"), String(server.version ?? "").replace(/^lapwing\//, ""));
  setText(element("up"), server.started === undefined || !isLive ? "" : `up ${span(state.nowMs - Date.parse(server.started))}`);
  const words = { live: "live", lost: "lost", ended: "ended", gate: link.why };
  setText(element("state"), words[link.state] ?? "Connecting");
  setClass(element("state"), isLive ? "live" : words[link.state] === undefined ? "" : "lost");
}

function drawTopics() {
  // What the page counts itself is for servers that do not tell, not for those that have not told yet.
  if (state.topics === undefined && topicsAt === 0) return;
  const told = state.topics ?? topicNames.map((topic) => ({
    topic, achieved_per_s: measuredRates.get(topic)?.messages ?? 0, bytes_per_s: measuredRates.get(topic)?.bytes ?? 0,
  }));
  topicsView.draw(told);
}

function waitingWords() {
  const topic = (state.topics ?? []).find(({ topic: name }) => name === lines.shown) ?? (state.topics?.length === 1 ? state.topics[0] : undefined);
  const filled = topic?.source?.startsWith("push") ? ` It is filled by: lapwing publish ${topic.topic}` : "";
  return `Waiting for the first message.${filled}`;
}

function drawClients(isLive, why) {
  order.refresh(roster.rows, asked, clients.isHeld, Date.now());
  const { total, counts } = roster.others;
  const isKnown = roster.loaded && why === undefined;
  filters.draw({ ...asked, counts: isKnown ? { all: total, slow: slowCount(counts), quiet: counts.unclear ?? 0 } : {} });
  const part = roster.isPart ? `; here are the ${count(roster.rows.size)} farthest behind, search asks the server for others` : "";
  const held = clients.isHeld ? `order held${order.moves > 0 ? `, ${count(order.moves)} would move` : ""}` : "";
  setText(element("order"), hint !== "" ? hint : isKnown && order.sessions.length > 0 ? `by ${asked.sort}${held === "" ? "" : `, ${held}`}${part}` : "");
  const empty = element("clients-empty");
  element("rows").hidden = order.sessions.length === 0;
  empty.hidden = order.sessions.length > 0;
  setText(empty, why ?? emptyWords(total));
  clients.draw({ ...asked, sessions: order.sessions, rows: roster.rows, nowMs: seenMs(isLive), isStale: !isLive });
}

// Why no client is listed.
function emptyWords(total) {
  if (!roster.loaded) return "Waiting for the list of clients.";
  if (total === 0) return "No clients yet.";
  const search = asked.search.trim();
  if (search !== "") return `No client has "${visible(search)}" in its name or address.`;
  return asked.filter === "slow" ? "None is slow or silent." : "All send reports.";
}

function drawCharts(why) {
  const now = Date.now();
  if (now - chartsAt < (calm.matches ? CHARTS_EVERY_MS_CALM : CHARTS_EVERY_MS) - 100) return;
  chartsAt = now;
  const { nowMs } = state;
  const hatched = outages.within(nowMs / 1000 - 600, nowMs / 1000);
  deliveryPlot.draw(nowMs, hatched);
  blocks.forget(nowMs);
  const size = [...roster.rows.values()].flatMap(({ topics }) => topics ?? []).find(({ block_size }) => block_size !== undefined)?.block_size;
  blockCharts.draw({
    blocks, rows: roster.rows, pins: asked.pins, nowMs, outages: hatched,
    waiting: why ?? (roster.others.total === 0 ? "Block times come with the first client that reports." : `The first block needs ${size ?? 5} messages.`),
  });
}

// Headings fold what is below them; on a narrow window some begin so.
for (const button of document.querySelectorAll("button.fold")) {
  const body = element(button.getAttribute("aria-controls"));
  const fold = (isOpen) => {
    button.setAttribute("aria-expanded", String(isOpen));
    body.hidden = !isOpen;
  };
  button.addEventListener("click", () => fold(body.hidden));
  if (matchMedia("(max-width: 48rem)").matches && ["topics-body", "delivery-body", "events-body", "said-body"].includes(body.id)) fold(false);
}

function current(does) {
  const row = roster.rows.get(clients.current ?? details.session);
  if (row !== undefined) does(row);
}

const keys = new Keys(new Map([
  ["/", { label: "search", run: () => element("search").focus() }],
  ["j", { label: "next row, also ↓ in the table", run: () => clients.step(1) }],
  ["k", { label: "row before, also ↑ in the table", run: () => clients.step(-1) }],
  ["p", { label: "pin the row, or unpin it", run: () => current((row) => togglePin(row.client)) }],
  ["s", { label: "sort by the next column", run: nextSort }],
  ["f", { label: "only those not keeping up, or all", run: () => ask({ filter: asked.filter === "slow" ? "all" : "slow" }) }],
  ["m", { label: "pause messages, or go on", run: () => messages.turnPause() }],
  ["t", { label: "light or dark", run: turnTheme }],
  ["?", { label: "this list", run: () => keys.show() }],
  ["Escape", { run: () => document.activeElement?.blur() }],
]));
// In the table only: elsewhere the arrows scroll, as everywhere.
element("rows").addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined || event.target.closest("tbody") === null) return;
  event.preventDefault();
  clients.step(by);
});

element("address").textContent = location.host;
element("enter").addEventListener("click", enter);
element("token").addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
addEventListener("hashchange", () => { asked = parse(location.hash); draw(); });
document.addEventListener("visibilitychange", () => (document.hidden ? hide() : show()));
startTheme();
filters.draw({ ...asked, counts: {} });
link.connect();
setInterval(tick, TICK_MS);
setTimeout(draw, 250);
