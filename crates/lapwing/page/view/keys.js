// The keys, and the list of them; all of them can be switched off (WCAG 2.1.4).
import { element, make } from "./dom.js";
import { remember, remembered } from "./memory.js";

const LISTS = [["events", "new events"], ["said", "what clients say"], ["messages", "new messages"]];

export class Keys {
  #does;
  #areOff = remembered("keys") === "off";

  // `does`: by key, what it says in the list and what it does.
  constructor(does) {
    this.#does = does;
    element("help").addEventListener("click", () => this.show());
    addEventListener("keydown", (event) => this.#onKey(event));
  }

  show() {
    const dialog = element("keys");
    const off = make("input", { type: "checkbox", id: "keys-off", onchange: (event) => this.#turn(event.target.checked) });
    off.checked = this.#areOff;
    dialog.replaceChildren(
      make("h2", { id: "keys-title" }, "Keys"),
      make("dl", {}, ...[...this.#does, ["Enter", { label: "details of the row" }], ["Esc", { label: "back" }]].flatMap(([key, { label }]) =>
        label === undefined ? [] : [make("dt", {}, make("kbd", {}, key)), make("dd", {}, label)])),
      make("p", {}, make("label", {}, off, " switch these keys off")),
      make("h2", {}, "Read out by a screen reader"),
      ...LISTS.map(([id, label]) => make("p", {}, make("label", {}, liveBox(id), ` ${label}`))),
      make("div", { class: "tools" }, make("button", { type: "button", onclick: () => dialog.close() }, "close")));
    dialog.showModal();
  }

  #turn(areOff) {
    this.#areOff = areOff;
    remember("keys", areOff ? "off" : "on");
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const isTyping = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    // Out of a field that is typed into, Esc is the way back; it is no key that could be hit by mistake.
    if (event.key === "Escape" && isTyping) event.target.blur();
    if (isTyping || this.#areOff || document.querySelector("dialog[open]") !== null) return;
    const found = this.#does.get(event.key);
    if (found === undefined) return;
    event.preventDefault();
    found.run();
  }
}

function liveBox(id) {
  const box = make("input", { type: "checkbox", onchange: (event) => element(id).setAttribute("aria-live", event.target.checked ? "polite" : "off") });
  box.checked = element(id).getAttribute("aria-live") === "polite";
  return box;
}
