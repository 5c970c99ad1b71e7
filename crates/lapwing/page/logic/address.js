// What the address bar keeps: search, filter, sort and pins. Behind the `#`, so that no server or log sees whom one looked for.
import { FILTERS, SORTS } from "./order.js";

export const PINS_MAX = 12;
const SEARCH_CHARACTERS_MAX = 200;

export function parse(hash) {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const sort = query.get("sort") ?? "behind";
  const column = sort.replace(/^-/, "");
  const filter = query.get("filter");
  return {
    search: (query.get("search") ?? "").slice(0, SEARCH_CHARACTERS_MAX),
    filter: FILTERS.has(filter) ? filter : "all",
    sort: SORTS.has(column) ? column : "behind",
    turned: SORTS.has(column) && sort.startsWith("-"),
    // By name: a client that comes back has another number.
    pins: new Set(query.getAll("pin").slice(0, PINS_MAX)),
  };
}

export function format({ search, filter, sort, turned, pins }) {
  const query = new URLSearchParams();
  if (search !== "") query.set("search", search);
  if (filter !== "all") query.set("filter", filter);
  if (sort !== "behind" || turned) query.set("sort", `${turned ? "-" : ""}${sort}`);
  for (const pin of pins) query.append("pin", pin);
  const text = query.toString();
  return text === "" ? "" : `#${text}`;
}
