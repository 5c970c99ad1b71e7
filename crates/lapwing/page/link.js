// The page's way to its server: one WebSocket as any client has it, and questions over HTTP with the same token.
import { hint, isFinal, waitMs } from "./logic/retry.js";

// Nothing for so many heartbeats is a connection that is lost.
const HEARTBEATS_MAX = 3;
// A question that is not answered by then has no answer.
const ANSWER_MS_MAX = 10_000;

export class Link {
  // `connecting`, `live`, `lost`, `gate` (a token is asked for), `ended` (for good), `hidden` (nobody looks).
  state = "connecting";
  // Why, for `gate` and `ended`.
  why = "";
  heardAt = 0;
  lostAt = 0;
  nextAt = 0;
  // Why the server stopped, in its own words, if it said that it does.
  bye = "";
  #handlers;
  #socket;
  #attempt = 0;
  #timer;
  #heartbeatMs = Infinity;
  // What this server wants to be shown, if it does; kept while the page is open, and nowhere else.
  #token;

  // `onState`, `onFrame(frame, text)`.
  constructor(handlers) {
    this.#handlers = handlers;
  }

  // The offer with the token is never chosen; in base64url, since a token may hold what no offer may.
  #offers() {
    if (this.#token === undefined) return ["lapwing.v1"];
    const encoded = btoa(this.#token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    return ["lapwing.v1", `lapwing.token.${encoded}`];
  }

  connect() {
    clearTimeout(this.#timer);
    if (this.#socket !== undefined) return;
    // A page that nobody sees follows nothing; it would be let go for that.
    if (document.hidden) {
      if (this.state === "connecting") this.#become("hidden");
      return;
    }
    if (this.state === "hidden") this.#become("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?name=page`, this.#offers());
    this.#socket = socket;
    socket.addEventListener("open", () => { this.heardAt = Date.now(); });
    socket.addEventListener("message", (event) => { if (socket === this.#socket) this.#onText(event.data); });
    socket.addEventListener("close", (event) => { if (socket === this.#socket) this.#onClose(event.code, event.reason); });
  }

  // Shows another token.
  enter(token) {
    this.#token = token;
    this.#become("connecting");
    this.connect();
  }

  send(command) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  // An answer as JSON; undefined when there is none.
  async ask(path) {
    const asks = { headers: this.#headers(), cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) };
    const answer = await fetch(path, asks).catch(() => undefined);
    return answer?.ok ? answer.json().catch(() => undefined) : undefined;
  }

  // To be called now and then.
  check(nowMs) {
    if (this.state === "live" && !document.hidden && nowMs - this.heardAt > HEARTBEATS_MAX * this.#heartbeatMs) this.#drop();
  }

  // Somebody looks again: what was heard before does not count as silence, and nobody has to wait.
  wake() {
    this.heardAt = this.state === "live" ? Date.now() : this.heardAt;
    if (this.state === "lost" || this.state === "hidden") this.connect();
  }

  #headers() {
    return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  #onText(text) {
    this.heardAt = Date.now();
    // Only a control message begins so.
    if (!text.startsWith('{"type":')) return this.#handlers.onFrame(undefined, text);
    const frame = JSON.parse(text);
    if (frame.type === "welcome") {
      this.#heartbeatMs = frame.heartbeat_ms;
      this.#attempt = 0;
      this.bye = "";
      this.#become("live");
    }
    if (frame.type === "bye") this.bye = String(frame.reason ?? "");
    return this.#handlers.onFrame(frame, text);
  }

  #drop() {
    const socket = this.#socket;
    this.#onClose(1006, "");
    socket.close();
  }

  async #onClose(code, reason) {
    this.#socket = undefined;
    // Only who was never let in may have been refused; who was, has lost the server.
    const refused = this.heardAt === 0 ? await this.#whyRefused() : undefined;
    if (refused !== undefined) return this.#become("gate", refused);
    if (code === 4401) {
      this.heardAt = 0;
      return this.#become("gate", `The server ended this: ${reason}.`);
    }
    if (isFinal(code)) return this.#become("ended", `The server ended this for good: ${code} ${reason}`);
    this.#attempt += 1;
    const pause = waitMs(this.#attempt, Math.random(), hint(reason));
    if (this.state !== "lost") this.lostAt = Date.now();
    this.nextAt = Date.now() + pause;
    this.#timer = setTimeout(() => this.connect(), pause);
    return this.#become("lost");
  }

  // A page cannot see why a stream was refused, but it can ask for what needs the same token.
  async #whyRefused() {
    const answer = await fetch("/ticket", { method: "POST", headers: this.#headers(), signal: AbortSignal.timeout(ANSWER_MS_MAX) }).catch(() => undefined);
    switch (answer?.status) {
      case 401: return this.#token === undefined ? "This server wants a token." : "This token is not good here.";
      case 201: return "This token does not allow to listen, or has as many connections as it may.";
      default: return undefined;
    }
  }

  #become(state, why = "") {
    [this.state, this.why] = [state, why];
    this.#handlers.onState();
  }
}
