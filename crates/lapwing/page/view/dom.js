// The only way by which anything enters the document: elements by name, and text as text.
import { name } from "../logic/form.js";

export const element = (id) => document.getElementById(id);

// An element with properties, and children that are elements or text.
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A name from outside: cut, harmless, and without a say over the direction of what is around it.
export function named(text) {
  return make("bdi", {}, name(text));
}

export function mark({ mark: sign, colour }) {
  return make("span", { class: `mark ${colour}`, "aria-hidden": "true" }, sign);
}

// Nothing is touched that stays as it is: a reader may have marked it, and it costs.
export function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

export function setClass(where, name) {
  if (where.className !== name) where.className = name;
}

export function setAttribute(where, key, value) {
  if (where.getAttribute(key) !== String(value)) where.setAttribute(key, value);
}

// Copies text, where the browser lets a page do that; gives whether it did.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
