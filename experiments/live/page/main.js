// The page: what the server pushes is shown; the modules beside this one do the parts.

import * as acts from "./acts.js";
import * as map from "./map.js";
import * as player from "./player.js";
import * as strips from "./strips.js";
import * as trips from "./trips.js";
import * as way from "./way.js";
import * as zoom from "./zoom.js";
import { listen } from "./stream.js";
import { bits, element, table, write } from "./rows.js";

const MOST_LINES = 200;
const at = (name) => document.getElementById(name);
const cityNames = JSON.parse(at("city-names").textContent);
let edition = null;
let phase = "starting";
let lost = false;
let lab = null;
let traffic = {};
const played = at("played") !== null;

const TOLD = {
  starting: "The lab is starting.",
  ended: "The lab has ended. This page shows what was last seen, and comes back with the next lab.",
};

function headline() {
  if (lab) {
    const ready = lab.ready ? "ready" : `not ready${lab.fault ? `: ${lab.fault}` : ""}`;
    write(at("headline"), `${lab.purpose}, policy ${lab.policy}, ${ready}`);
  }
  const trouble = lost ? "The connection to poplab live is lost. Trying again ..." : TOLD[phase];
  at("banner").hidden = !trouble;
  write(at("banner"), trouble ?? "");
  document.body.classList.toggle("gone", lost || phase === "ended");
}

function view(now) {
  // Another network has another map: begin again.
  if (edition !== null && edition !== now.edition) return location.reload();
  ({ edition, phase } = now);
  lab = now.lab;
  if (lab) draw();
  trips.show(now.probing);
  tools(now.undo);
}

let last = null;

function tools(undo = last) {
  last = undo;
  acts.show(phase === "up" && !lost ? lab : null, undo, !played);
  way.show(phase === "up" && !lost);
  headline();
}

function draw() {
  map.draw(lab);
  strips.draw(lab, acts.openSet);
  table("servers", lab.servers, (one) => one.server, serverCells, { open: acts.openServer });
  drawTraffic();
  table("floods", lab.floods, (flood) => flood.target, floodCells, { open: acts.openFlood });
  const cities = Object.entries(lab.cities);
  const cells = ([city, pop]) => [city, cityNames[city] ?? "", pop ?? "nobody"];
  table("cities", cities, ([city]) => city, cells);
}

function drawTraffic() {
  table("pops", lab.pops, (pop) => pop.pop, popCells, {
    open: acts.openPop,
    long: 2,
    badge: (pop) => map.badge(pop.pop),
  });
  table("links", lab.links, (link) => link.link, linkCells, { open: acts.openLink });
}

function popCells(pop) {
  const servers = `${pop.serving} of ${pop.servers}`;
  const switched = pop.switch ? "connected" : "not connected";
  const cities = pop.cities.length ? `${pop.cities.length}: ${pop.cities.join(", ")}` : "none";
  const lent = [`${pop.lent}`, `${pop.addresses}`];
  return [pop.pop, pop.state, cities, uplinkCell(pop.uplink), servers, ...lent, switched];
}

function uplinkCell({ link, state, rate_bit_s: most }) {
  if (state !== "up") return state;
  const now = rate(traffic[link]);
  return most === null ? now : `${now || "nothing"} of ${bits(most)}`;
}

function floodCells(flood) {
  return [flood.target, bits(flood.bit_s)];
}

function serverCells(one) {
  return [one.server, one.state, `${one.weight}`, one.leases.join(", ") || "nothing"];
}

function linkCells(link) {
  const loss = `${+(100 * link.loss).toFixed(3)} %`;
  return [link.link, link.kind, link.state, `${link.delay_ms} ms`, loss, rate(traffic[link.link])];
}

function rate(carried) {
  return carried ? bits(carried) : "";
}

function carried(now) {
  traffic = now;
  map.carry(traffic);
  if (lab) drawTraffic();
}

function log({ whole, lines }) {
  if (whole) at("log").replaceChildren();
  at("log").prepend(...lines.reverse().map((line) => element("li", "", line)));
  while (at("log").children.length > MOST_LINES) at("log").lastChild.remove();
}

function secondsRun() {
  if (lab && !lost) strips.draw(lab, acts.openSet);
}

function hearLost(is) {
  if (is === lost) return;
  lost = is;
  tools();
}

function moment(now) {
  strips.setClock(now.at_s);
  view({ edition: 0, phase: "up", undo: null, lab: now.lab });
  trips.draw(now.trips);
  log({ whole: true, lines: now.lines });
}

map.prepare(acts.openPop, acts.openLink);
zoom.prepare();
acts.prepare();
way.prepare();
trips.prepare();
if (played) player.prepare(player.moments({ moment, lost: hearLost }));
else {
  listen({ view, log, trips: trips.draw, traffic: carried, lost: hearLost });
  setInterval(secondsRun, 1000);
}
