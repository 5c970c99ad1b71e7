// What test_node.py asks of npm's ws: one connection, and everything that happened on it as lines of JSON.
import WebSocket from "ws";

const [url, protocol, ...commands] = process.argv.slice(2);
const tell = (what, value) => console.log(JSON.stringify({ what, value }));
const socket = new WebSocket(url, protocol === "plain" ? [] : [protocol], { perMessageDeflate: true });

socket.on("open", () => {
  tell("open", { protocol: socket.protocol, extensions: socket.extensions });
  socket.ping("there?");
  for (const command of commands) socket.send(command);
});
socket.on("pong", (payload) => tell("pong", payload.toString()));
socket.on("message", (data, isBinary) => tell("message", isBinary ? { binary: data.length } : JSON.parse(data)));
socket.on("unexpected-response", (_, answer) => { tell("refused", answer.statusCode); process.exit(); });
socket.on("error", (error) => tell("error", error.message));
socket.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
