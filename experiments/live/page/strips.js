// Every borrowed address as a strip of its port sets, and the sets that are taken as a table.

import { button, element, follow, table, write } from "./rows.js";
import { marks } from "./map.js";

/** A port set in words. */
export function sentence(set) {
  const ports = `ports ${set.first}-${set.last}`;
  if (set.state === "free") return `${ports}: free`;
  const whom = { lent: "to", draining: "by", quarantined: "after" }[set.state];
  return `${ports}: ${set.state} ${whom} ${set.server}${set.heir ? `, then to ${set.heir}` : ""}`;
}

/** The port sets of a lab that are not free. */
export function taken(lab) {
  return lab.addresses.flatMap((address) => address.sets.filter((set) => set.lease));
}

/** Show the addresses of a lab. */
export function draw(lab, open) {
  follow(
    document.getElementById("strips"),
    lab.addresses,
    (address) => address.address,
    () => {
      const item = element("li");
      item.append(element("p"), element("div", "strip"));
      item.lastChild.role = "group";
      return item;
    },
    (item, address) => strip(item, address, open),
  );
  table("port-sets", taken(lab), (set) => set.lease, cells, { open });
}

function strip(item, address, open) {
  const held = address.sets.filter((set) => set.lease).length;
  write(item.firstChild, `${address.address}, tag ${address.tag}, home ${address.home}: ${held} taken`);
  item.lastChild.setAttribute("aria-label", `Port sets of ${address.address}`);
  const make = (set) => (set.lease ? button("", () => open(set.lease)) : element("span"));
  // What is free and what is taken are other elements, so they have other keys.
  const key = (set) => `${set.lease ? "set" : "free"}-${set.first}-${set.last}`;
  follow(item.lastChild, address.sets, key, make, (part, set) => {
    part.className = `set ${set.state}`;
    part.style.flexGrow = set.last - set.first + 1;
    part.title = sentence(set);
    if (!set.lease) return;
    part.setAttribute("aria-label", `${address.address} ${sentence(set)}`);
    part.style.setProperty("--lent", marks[set.pop]?.[0] ?? "var(--line)");
  });
}

function cells(set) {
  return [set.lease, `${set.first}-${set.last}`, set.state, set.server, set.heir, left(set)];
}

let clock = null;

/** What time it is (Unix, seconds), if it is not now. */
export function setClock(seconds) {
  clock = seconds;
}

function left(set) {
  if (set.until_s === null) return "";
  return `${Math.max(0, Math.round(set.until_s - (clock ?? Date.now() / 1000)))} s`;
}
