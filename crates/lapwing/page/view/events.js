// What happened on the server, and what clients said to it; what came last on top.
import { lines } from "../logic/event.js";
import { clock, cut, LINE_CHARACTERS_MAX } from "../logic/form.js";
import { element, make, mark, named } from "./dom.js";

const LINES_MAX = 200;

export class Events {
  #fresh = [];

  take(event) {
    this.#fresh.push(event);
    if (this.#fresh.length > 10 * LINES_MAX) this.#fresh.splice(0, LINES_MAX);
  }

  // `why` there is nothing to be told, if so.
  draw(why) {
    const made = lines(this.#fresh);
    this.#fresh = [];
    put(element("events"), made.filter(({ word }) => word !== "says"), why ?? "Nothing has happened yet that is worth telling.");
    put(element("said"), made.filter(({ word }) => word === "says"), why ?? "No client has said anything yet.");
  }
}

function put(list, made, empty) {
  if (made.length > 0) {
    list.querySelector(".empty")?.remove();
    list.prepend(...made.slice(-LINES_MAX).map(item).reverse());
    while (list.children.length > LINES_MAX) list.lastChild.remove();
  } else if (list.firstElementChild?.className === "empty" && list.textContent !== empty) {
    list.replaceChildren(make("li", { class: "empty" }, empty));
  }
}

function item(line) {
  const isSaid = line.word === "says";
  const where = line.server === undefined ? [] : [make("span", { class: "muted where" }, named(line.server), " ")];
  const who = line.client === undefined ? [] : [named(line.client), isSaid ? ": " : " "];
  return make("li", {}, ...(isSaid ? [] : [mark(line), " "]), make("time", {}, clock(line.time)),
    ...(isSaid ? [] : [make("span", { class: "muted" }, `${line.word} `)]), ...where, ...who, make("bdi", {}, cut(line.text, LINE_CHARACTERS_MAX)));
}
