// The servers that share the topics: who is there, and how far each is behind the streams.
import { areSeveral, lagWords, serverState } from "../logic/servers.js";
import { count } from "../logic/form.js";
import { element, make, mark, named, setClass, setText } from "./dom.js";

export class Servers {
  #shown = "";

  draw(servers) {
    element("servers-region").hidden = !areSeveral(servers);
    setClass(document.body, areSeveral(servers) ? "several" : "");
    if (!areSeveral(servers)) return;
    const rows = servers.map((server) => ({ server, state: serverState(server), lag: lagWords(server) }));
    const off = rows.filter(({ state }) => state.word !== "well").length;
    setText(element("servers-note"), off === 0 ? `${count(rows.length)} servers, all well` : `${count(rows.length)} servers, ${count(off)} not well`);
    const asText = JSON.stringify(rows.map(({ server, state, lag }) => [server.server, server.clients, server.address, server.version, state, lag]));
    if (asText === this.#shown) return;
    this.#shown = asText;
    element("servers").replaceChildren(...rows.map(({ server, state, lag }) => make("tr", {},
      make("td", {}, named(server.server), make("span", { class: "muted" }, server.self ? " this one" : "")),
      make("td", {}, mark(state), ` ${state.word}`),
      make("td", { class: "number" }, server.state === "gone" ? "-" : count(server.clients)),
      make("td", {}, server.state === "gone" ? "-" : lag),
      make("td", { class: "muted" }, `${server.address} ${server.version}`))));
  }
}
