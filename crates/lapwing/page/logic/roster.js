// The clients as the page knows them: a list from `/api/clients`, then what `$clients` changes.
import { lateness } from "./client.js";
import { place, placed } from "./place.js";

// Rows that are held; beyond it those that are the least behind are let go, and a search asks the server.
export const ROWS_MAX = 5000;

export class Roster {
  rows = new Map();
  counts = {};
  total = 0;
  // Whether there is a list at all: before it nothing is known, which is not the same as nobody.
  loaded = false;
  #own;
  #home;
  #ownSeen = false;

  // The number of the page's own connection, which it does not show.
  set own(session) {
    this.#own = session;
    this.#ownSeen = this.#forgetOwn();
  }

  // The server that the page is on, where there are several.
  set home(server) {
    if (server === this.#home) return;
    this.#home = server;
    this.#ownSeen = this.#forgetOwn() || this.#ownSeen;
  }

  // A whole list: who is not in it is gone.
  load(answer) {
    this.rows = new Map();
    this.#ownSeen = false;
    for (const row of answer.rows) this.#put(row);
    this.#summary(answer);
    this.loaded = true;
  }

  // Rows that a search found; nobody is gone because of it.
  add(rows) {
    for (const row of rows) this.#put(row);
  }

  // One message of `$clients`.
  apply(data) {
    if (data.summary !== undefined) {
      // All rows come behind it: whoever is not among them has gone while nobody watched.
      if (data.summary.begins === true) this.rows = new Map();
      this.#summary(data.summary);
    }
    else if (data.left === true) this.rows.delete(place(data));
    else if (data.session !== undefined) this.#put(data);
  }

  // What is kept of a server that is gone: nothing, since its numbers mean others in the next.
  clear() {
    this.rows = new Map();
    [this.counts, this.total, this.loaded, this.#ownSeen] = [{}, 0, false, false];
  }

  // The page is a client of the server, too, but nobody asks about it.
  get others() {
    const own = this.#ownSeen || this.total > this.rows.size ? 1 : 0;
    const counts = { ...this.counts };
    if (own === 1 && counts.unclear > 0) counts.unclear -= 1;
    return { total: Math.max(0, this.total - own), counts };
  }

  // Some clients are known to the server alone.
  get isPart() {
    return this.others.total > this.rows.size;
  }

  #forgetOwn() {
    return this.rows.delete(place({ session: this.#own, server: this.#home }));
  }

  #put(row) {
    if (row.session === this.#own && row.server === this.#home) {
      this.#ownSeen = true;
      return;
    }
    this.rows.set(place(row), placed(row));
    if (this.rows.size <= ROWS_MAX) return;
    // A tenth at once, so that this is rare.
    const byBehind = [...this.rows.values()].sort((a, b) => (lateness(b) ?? -1) - (lateness(a) ?? -1));
    for (const least of byBehind.slice(ROWS_MAX * 0.9)) this.rows.delete(least.session);
  }

  #summary({ clients, counts }) {
    this.total = clients;
    this.counts = counts ?? {};
  }
}
