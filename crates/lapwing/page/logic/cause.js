// Why a client receives as it does: the server decides, the page shows it by a word, a mark and a colour.

// By how bad it is. `colour` names a variable of page.css.
export const CAUSES = new Map([
  ["server slow", { mark: "■", colour: "server", why: "Many fall behind at once, or we were late: it is us." }],
  ["network slow", { mark: "◆", colour: "network", why: "The way to the client is full or loses packets." }],
  ["client slow", { mark: "▲", colour: "client", why: "We sent in time and the network took it; the client reads late." }],
  ["silent", { mark: "◇", colour: "muted", why: "Stopped or unreachable; it is closed when a ping stays unanswered." }],
  ["unclear", { mark: "?", colour: "muted", why: "It sends no reports; only what waits here is known." }],
  ["source-limited", { mark: "●", colour: "good", why: "The block took as long as the source took to make it." }],
]);

// The causes that say that a client does not keep up.
export const SLOW = ["server slow", "network slow", "client slow", "silent"];

const STRANGE = { mark: "?", colour: "muted", why: "This page does not know the word." };

// How a cause is shown; a word that a later server may have is shown as it is.
export function shown(cause) {
  return CAUSES.get(cause) ?? STRANGE;
}

// How bad, from 0.
export function rank(cause) {
  const place = [...CAUSES.keys()].indexOf(cause);
  return place < 0 ? CAUSES.size : place;
}

// How many do not keep up.
export function slowCount(counts) {
  return SLOW.reduce((sum, cause) => sum + (counts[cause] ?? 0), 0);
}
