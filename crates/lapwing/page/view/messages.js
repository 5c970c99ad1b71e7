// The messages of the topics, one line each; those that came last on top.
import { ALL, LINES_MAX } from "../logic/lines.js";
import { LINE_CHARACTERS_MAX, clock, count, cut, visible } from "../logic/form.js";
import { element, make, setText } from "./dom.js";

export class Messages {
  #lines;
  #empty;

  // `onShow(topic, isHeld)` when another topic is chosen; whether there is anything of it.
  constructor(lines, onShow) {
    this.#lines = lines;
    element("pause").addEventListener("click", () => this.turnPause());
    element("topic").addEventListener("change", (event) => {
      const topic = event.target.value;
      const held = lines.show(topic);
      this.#replace(held);
      onShow(topic, held.length > 0);
      this.draw();
    });
  }

  turnPause() {
    this.#lines.isPaused = !this.#lines.isPaused;
    element("pause").setAttribute("aria-pressed", String(this.#lines.isPaused));
    element("pause").textContent = this.#lines.isPaused ? "Go on" : "Pause";
    this.draw();
  }

  // The topics that can be chosen.
  offer(topics) {
    const select = element("topic");
    if (topics.join() === [...select.options].slice(1).map(({ value }) => value).join()) return;
    const chosen = select.value;
    select.replaceChildren(make("option", { value: ALL }, "all topics"), ...topics.map((topic) => make("option", { value: topic }, topic)));
    select.value = topics.includes(chosen) ? chosen : ALL;
    if (select.value !== chosen) this.#replace(this.#lines.show(ALL));
  }

  // `why` there is nothing, in words.
  draw(why) {
    this.#empty = why ?? this.#empty;
    const lines = this.#lines;
    const list = element("messages");
    const fresh = lines.draw();
    setText(element("held"), lines.isPaused ? (lines.waits === 0 ? "" : `${count(lines.waits + lines.notShown)} wait`)
      : lines.notShown === 0 ? "" : `+${count(lines.notShown)} not shown`);
    if (fresh.length > 0) {
      list.querySelector(".empty")?.remove();
      list.prepend(...fresh.map(line).reverse());
      while (list.children.length > LINES_MAX) list.lastChild.remove();
    } else if (list.childElementCount === 0 || list.firstElementChild.className === "empty") {
      if (list.textContent !== this.#empty) list.replaceChildren(make("li", { class: "empty" }, this.#empty ?? "Waiting for the first message."));
    }
  }

  #replace(lines) {
    element("messages").replaceChildren(...lines.map(line).reverse());
  }
}

function line(message) {
  return make("li", {},
    make("time", {}, clock(message.time)), make("span", { class: "topic" }, message.topic),
    make("span", { class: "offset" }, String(message.offset)),
    make("bdi", { class: "data" }, visible(cut(message.data, LINE_CHARACTERS_MAX))));
}
