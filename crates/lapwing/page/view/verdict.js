// The sentence on top, and the chain below it.
import { clock, span, visible } from "../logic/form.js";
import { Announcer } from "../logic/announcer.js";
import { chain, essence, sentence, text } from "../logic/verdict.js";
import { copy, element, make, mark, named, setText } from "./dom.js";

// Numbers in the sentence that grow are drawn this often; a change of state at once.
const NUMBERS_EVERY_MS = 5000;

export class Verdict {
  #onOpen;
  #essence = "";
  #drawnAt = -Infinity;
  #chain = "";
  #link = "";
  #announcer = new Announcer();

  constructor(onOpen) {
    this.#onOpen = onOpen;
    const command = `lapwing listen ${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
    element("command").textContent = command;
    element("copy-command").addEventListener("click", async () => {
      const done = await copy(command);
      element("copy-command").textContent = done ? "copied" : "select it and copy";
      if (!done) getSelection().selectAllChildren(element("command"));
    });
  }

  draw(state, link, nowMs) {
    if (link.state === "live" && state.watch !== "unknown") this.#drawLive(state, nowMs);
    else this.#drawCutOff(link, nowMs);
    const due = this.#announcer.due(nowMs);
    if (due !== undefined) element("spoken").textContent = due;
    this.#drawAlarm(link);
  }

  #drawLive(state, nowMs) {
    const now = essence(state);
    const isNew = now !== this.#essence;
    if (!isNew && nowMs - this.#drawnAt < NUMBERS_EVERY_MS) return;
    [this.#essence, this.#drawnAt] = [now, nowMs];
    const parts = sentence(state);
    const place = element("sentence");
    const said = text(parts);
    if (place.textContent !== said) {
      const focused = place.contains(document.activeElement) ? document.activeElement.dataset.session : undefined;
      place.replaceChildren(...parts.map((part) => (typeof part === "string" ? part : this.#client(part))));
      // Who stands on a name stays on it.
      if (focused !== undefined) place.querySelector(`[data-session="${CSS.escape(focused)}"]`)?.focus();
    }
    element("start").hidden = !(state.watch === "allowed" && state.roster.loaded && state.roster.others.total === 0);
    if (isNew && (state.watch !== "allowed" || state.roster.loaded)) this.#announcer.change(said);
    this.#drawChain(chain(state));
  }

  #client({ session, client }) {
    return make("button", { type: "button", class: "plain", "data-session": String(session), onclick: () => this.#onOpen(session) }, named(client));
  }

  #drawCutOff(link, nowMs) {
    [this.#essence, this.#drawnAt] = ["", -Infinity];
    element("start").hidden = true;
    const place = element("sentence");
    if (link.state === "lost") {
      const from = link.heardAt === 0 ? "" : ` What you see is from ${clock(link.heardAt)}.`;
      const next = Math.ceil((link.nextAt - nowMs) / 1000);
      const what = link.bye === "" ? "Lost the server" : `The server said that it stops (${visible(link.bye)})`;
      setText(place, `${what} ${span(nowMs - link.lostAt)} ago, ${next > 0 ? `next try in ${next} s` : "trying now"}.${from}`);
    } else if (link.state === "ended" || link.state === "gate") {
      setText(place, link.state === "ended" ? link.why : "Enter a token to see more.");
    } else if (link.state === "connecting" && this.#link !== link.state && this.#link !== "") {
      // Live, and nothing known yet: what stands there stays for that moment.
      place.replaceChildren(make("span", { class: "wait" }, "Connecting."));
    }
  }

  // The alarm is told once; the seconds in the sentence are nobody's to be read out.
  #drawAlarm(link) {
    if (link.state === this.#link) return;
    const before = this.#link;
    this.#link = link.state;
    setText(element("alarm"), link.state === "lost" ? `${link.bye === "" ? "Lost the server." : "The server stops."} What you see is old.` : link.state === "ended" ? link.why : "");
    if (link.state === "live" && before === "lost") this.#announcer.change("The server is there again.");
  }

  #drawChain(stations) {
    const asText = JSON.stringify(stations);
    if (asText === this.#chain) return;
    this.#chain = asText;
    element("chain").replaceChildren(...stations.map(({ name, items }) =>
      make("li", {}, make("span", {}, `${name} `), ...items.flatMap((item, place) => [
        make("span", {}, mark(item), ` ${item.text}${place < items.length - 1 ? "," : ""}`),
      ]))));
  }
}

