// The page is a Lapwing client like any other: it follows every topic, resumes where it was, and shows what comes.
// Text from feeds only ever enters the document as text.

const LINES_MAX = 200;
const DRAWN_PER_SECOND = 10;
const RETRY_MS_MAX = 10_000;
// Close codes after which coming back would not help; PROTOCOL.md has the table. 1000 may be a feed that ended.
const STOPS = [1000, 1002, 1003, 1007, 1008, 1009];

const element = (id) => document.getElementById(id);
const topics = new Map();
let waiting = [];
let notShown = 0;
let paused = false;
let catchingUp = false;
let attempt = 0;
let lastHeard = 0;
// What this server wants to be shown, if it does; kept while the page is open, and nowhere else.
let token;

element("address").textContent = location.host;
element("command").textContent = `lapwing listen ${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
element("pause").addEventListener("click", () => {
  paused = !paused;
  element("pause").setAttribute("aria-pressed", String(paused));
  element("pause").textContent = paused ? "Go on" : "Pause";
});

element("enter").addEventListener("click", enter);
element("token").addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });

function enter() {
  const entered = element("token").value.trim();
  element("token").value = "";
  if (!/^[!-~]+$/.test(entered)) return;
  token = entered;
  element("gate").hidden = true;
  setState("", "Connecting");
  connect();
}

function askForToken(why) {
  setState("lost", why);
  element("gate").hidden = false;
  element("token").focus();
}

// A page cannot see why a stream was refused, but it can ask for what needs the same token.
async function whyRefused() {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch("/ticket", { method: "POST", headers }).catch(() => undefined);
  switch (answer?.status) {
    case 401: return token === undefined ? "This server wants a token." : "This token is not good here.";
    case 201: return "This token does not allow to listen, or has as many connections as it may.";
    default: return undefined;
  }
}

// The offer with the token is never chosen; in base64url, since a token may hold what no offer may.
function offers() {
  if (token === undefined) return ["lapwing.v1"];
  const encoded = btoa(token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["lapwing.v1", `lapwing.token.${encoded}`];
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/ws?name=page`, offers());
  socket.addEventListener("message", (event) => onFrame(socket, event.data));
  socket.addEventListener("open", () => { lastHeard = Date.now(); });
  socket.addEventListener("close", async (event) => {
    // Only who was never let in may have been refused; who was, has lost the server.
    const refused = lastHeard === 0 ? await whyRefused() : undefined;
    if (refused !== undefined) return askForToken(refused);
    if (event.code === 4401) {
      lastHeard = 0;
      return askForToken(`The server ended this: ${event.reason}.`);
    }
    if (event.code >= 4500 || STOPS.includes(event.code)) {
      setState("lost", `The server ended this for good: ${event.code} ${event.reason}`);
      return;
    }
    const since = lastHeard === 0 ? "" : ` What you see is from ${clock(lastHeard)}.`;
    // Full jitter: those who lost the server together do not come back together.
    const pause = Math.random() * Math.min(RETRY_MS_MAX, 500 * 2 ** attempt);
    attempt += 1;
    setState("lost", `Lost the server; trying again.${since}`);
    document.querySelector("main").classList.add("stale");
    setTimeout(connect, pause);
  });
}

function onFrame(socket, text) {
  lastHeard = Date.now();
  const frame = JSON.parse(text);
  switch (frame.type) {
    case undefined: return onMessage(frame, text);
    case "welcome": return onWelcome(socket, frame);
    case "subscribed": return onSubscribed(frame);
    case "heartbeat":
      for (const [name, next] of Object.entries(frame.next)) topic(name).end = next;
      return undefined;
    default: return undefined;
  }
}

function onWelcome(socket, welcome) {
  attempt = 0;
  catchingUp = true;
  setState("live", "live");
  document.querySelector("main").classList.remove("stale");
  if (welcome.topics.length === 0) showEmpty(element("topics"), "tr", "This server has no topics.");
  for (const name of welcome.topics) {
    const known = topic(name);
    const position = known.epoch === undefined ? { from: "last:20" } : { epoch: known.epoch, offset: known.next };
    socket.send(JSON.stringify({ type: "subscribe", topic: name, ...position }));
  }
}

function onSubscribed(subscribed) {
  const known = topic(subscribed.topic);
  known.epoch = subscribed.epoch;
  known.next = subscribed.from;
  known.end = subscribed.next;
  known.live = subscribed.next;
}

// A message is shown as it came: parsing would round integers beyond 2^53.
function dataOf(message, text) {
  const key = message.data_base64 === undefined ? '"data":' : '"data_base64":';
  return text.slice(text.indexOf(key) + key.length, -1);
}

function onMessage(message, text) {
  const bytes = text.length;
  const known = topic(message.topic);
  known.next = message.offset + 1;
  known.end = Math.max(known.end, known.next);
  // What was retained comes all at once and says nothing about the feed's pace.
  if (message.offset >= known.live) {
    known.messages += 1;
    known.bytes += bytes;
  }
  if (!known.shown.checked) return;
  waiting.push({ ...message, shown: dataOf(message, text) });
  if (waiting.length > LINES_MAX) {
    waiting.shift();
    notShown += 1;
  }
}

function topic(name) {
  const known = topics.get(name);
  if (known !== undefined) return known;
  if (topics.size === 0) element("topics").replaceChildren();
  const row = document.createElement("tr");
  const cell = (className) => {
    const made = document.createElement("td");
    made.className = className;
    row.append(made);
    return made;
  };
  cell("").textContent = name;
  const made = { messages: 0, bytes: 0, next: 0, end: 0, live: 0, rates: [cell("number"), cell("number bytes"), cell("number")] };
  made.shown = document.createElement("input");
  made.shown.type = "checkbox";
  made.shown.checked = true;
  made.shown.setAttribute("aria-label", `Show messages of ${name}`);
  cell("").append(made.shown);
  element("topics").append(row);
  topics.set(name, made);
  return made;
}

function drawTopics() {
  for (const known of topics.values()) {
    const [messages, bytes, next] = known.rates;
    messages.textContent = known.messages.toLocaleString("en");
    bytes.textContent = known.bytes.toLocaleString("en");
    next.textContent = String(known.end);
    known.messages = 0;
    known.bytes = 0;
  }
}

function drawMessages() {
  if (paused) {
    element("held").textContent = waiting.length === 0 ? "" : `${waiting.length} wait`;
    return;
  }
  const fresh = waiting.slice(-(catchingUp ? LINES_MAX : DRAWN_PER_SECOND));
  notShown += waiting.length - fresh.length;
  waiting = [];
  element("held").textContent = notShown === 0 ? "" : `+${notShown.toLocaleString("en")} not shown`;
  if (fresh.length === 0) return;
  catchingUp = false;
  // Topics catch up one after the other.
  fresh.sort((a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)));
  const list = element("messages");
  list.querySelector(".empty")?.remove();
  for (const message of fresh) list.prepend(line(message));
  while (list.children.length > LINES_MAX) list.lastChild.remove();
}

function line(message) {
  const made = document.createElement("li");
  const part = (name, text) => {
    const span = document.createElement(name === "time" ? "time" : "span");
    span.className = name;
    span.textContent = text;
    made.append(span);
  };
  part("time", clock(message.time));
  part("topic", message.topic);
  part("offset", String(message.offset));
  part("data", visible(message.shown.slice(0, 1000)));
  return made;
}

// Characters that change how the rest reads, or cannot be seen, are written out.
function visible(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (c) => `\\u{${c.charCodeAt(0).toString(16)}}`);
}

function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

function showEmpty(parent, tag, text) {
  const made = document.createElement(tag);
  const inner = tag === "tr" ? made.appendChild(document.createElement("td")) : made;
  inner.textContent = text;
  parent.replaceChildren(made);
}

function setState(name, text) {
  element("state").className = name;
  element("state").textContent = text;
}

connect();
setInterval(() => { drawTopics(); drawMessages(); }, 1000);
setTimeout(drawMessages, 250);
