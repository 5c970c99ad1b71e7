// Which client a row, a report or a change is about: its connection's number, and where several servers are shown, the server's name.

// What tells it from all others: the number where there is one server, a text where there are several.
export function place({ session, server }) {
  return server === undefined ? session : `${session}@${server}`;
}

// The same from the text of an attribute.
export function placeFrom(text) {
  return text === undefined || text.includes("@") ? text : Number(text);
}

// The same of a row or report, under `session`: what comes behind asks no more where a client is.
export function placed(told) {
  return told.server === undefined ? told : { ...told, session: place(told) };
}

// As the server told it.
export function unplaced(row) {
  return row.server === undefined ? row : { ...row, session: Number.parseInt(row.session, 10) };
}

// An order in which equals keep their places: by number, then by server.
export function byPlace(a, b) {
  const number = (session) => Number.parseInt(session, 10);
  return number(a) - number(b) || (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0);
}
