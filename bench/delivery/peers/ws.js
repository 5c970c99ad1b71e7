// A broadcast with npm `ws` in the form of its README: for each client that is open, send.
//
// node ws.js --port PORT [--every-ms MS --burst N | --saturate]
"use strict";
const { WebSocket, WebSocketServer } = require("ws");

const value = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const every = value("--every-ms", 0);
const burst = value("--burst", 1);
// At saturation: as many messages before the loop is given back, and no more of them than this waiting for a client.
const SATURATED_BURST = 50;
const WAITING_BYTES_MAX = 1 << 20;

const server = new WebSocketServer({ host: "127.0.0.1", port: value("--port", 0), backlog: 4096 });
let offset = 0;

// Lapwing's envelope, 250 bytes: delivery/src/message.rs.
function message() {
  const now = performance.timeOrigin + performance.now();
  const millis = Math.floor(now);
  const micros = String(Math.floor((now - millis) * 1000)).padStart(3, "0");
  const time = `${new Date(millis).toISOString().slice(0, -1)}${micros}Z`;
  const text = `{"topic":"feed","offset":${offset++},"time":"${time}","data":"`;
  return text.padEnd(248, "x") + '"}';
}

function broadcast(count) {
  for (let n = 0; n < count; n++) {
    const text = message();
    server.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(text);
    });
  }
}

function saturate() {
  let most = 0;
  server.clients.forEach((client) => (most = Math.max(most, client.bufferedAmount)));
  if (most < WAITING_BYTES_MAX) broadcast(SATURATED_BURST);
  setImmediate(saturate);
}

if (process.argv.includes("--saturate")) {
  saturate();
} else if (every > 0) {
  let next = performance.now() + every;
  (function tick() {
    // Instants are planned from the start; setInterval drifts.
    // One late tick at a time: a loop that never ends would let nobody in.
    if (next <= performance.now()) {
      broadcast(burst);
      next += every;
    }
    setTimeout(tick, next - performance.now());
  })();
}
