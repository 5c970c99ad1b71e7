// Light or dark: as the system has it, until the reader chooses.
import { element } from "./dom.js";
import { remember, remembered } from "./memory.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const changed = new Set();
const known = new Map();

export function startTheme() {
  const chosen = remembered("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  system.addEventListener("change", tell);
  element("theme").addEventListener("click", turnTheme);
  label();
}

export function turnTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  remember("theme", next);
  tell();
}

// Calls back when colours are others than before: canvases do not follow by themselves. Gives what ends that.
export function onTheme(callback) {
  changed.add(callback);
  return () => changed.delete(callback);
}

// What a variable of page.css is now, for canvases.
export function colour(variable) {
  if (known.size === 0) {
    const probe = document.createElement("span");
    document.body.append(probe);
    for (const name of ["page", "panel", "text", "muted", "good", "client", "network", "server", "error", "edge", "line"]) {
      probe.style.color = `var(--${name})`;
      known.set(name, getComputedStyle(probe).color);
    }
    probe.remove();
  }
  return known.get(variable);
}

// The same, so thin that lines show through.
export function tint(variable, part) {
  return colour(variable).replace("rgb(", "rgba(").replace(")", `, ${part})`);
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme === undefined ? system.matches : theme === "dark";
}

function tell() {
  known.clear();
  label();
  for (const callback of changed) callback();
}

function label() {
  element("theme").textContent = isDark() ? "light theme" : "dark theme";
}
