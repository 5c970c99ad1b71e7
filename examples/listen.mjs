// Receives 5 packages of arrays from Lapwing, times them, and tells the server. Needs only: npm install ws
import WebSocket from "ws";

const url = process.argv[2] ?? "ws://127.0.0.1:8765";
const messages = 5;
const socket = new WebSocket(`${url}?topics=arrays`);
let began;
let received = 0;

socket.on("open", () => { began = performance.now(); });
socket.on("message", (text) => {
  const { topic, offset, time, data } = JSON.parse(text);
  console.log(`${topic} ${offset} at ${time}: ${JSON.stringify(data)}`);
  received += 1;
  if (received === messages) {
    const took = (performance.now() - began) / 1000;
    socket.send(`Time taken to receive ${messages} messages: ${took.toFixed(6)} s`);
    socket.close(1000);
  }
});
socket.on("close", (code, reason) => {
  if (received < messages) console.error(`closed with ${code} ${reason}`);
  process.exitCode = received < messages ? 1 : 0;
});
socket.on("error", (error) => { console.error(error.message); });
