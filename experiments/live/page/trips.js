// Round trips: each client's last ones beside what the model says and the nearest PoP.

import { element, follow, write } from "./rows.js";
import { post } from "./stream.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [120, 24];
const key = (trip) => `${trip.client} ${trip.arm}`.trim();
const ms = (value) => (value === null || value === undefined ? "" : `${value.toFixed(2)} ms`);

/** Make the switch work that has clients ping. */
export function prepare() {
  const probing = document.getElementById("probing");
  probing?.addEventListener("change", () => post("probing", { on: probing.checked }));
}

/** Whether they do. */
export function show(on) {
  const probing = document.getElementById("probing");
  if (probing) probing.checked = on;
}

/** Show round trips; nothing where there are none. */
export function draw(trips) {
  const probing = document.getElementById("probing");
  document.getElementById("trips-section").hidden = !probing && !trips.length;
  const body = document.querySelector("#round-trips tbody");
  follow(body, trips, key, make, (row, trip) => {
    const lost = trip.rtt_ms === null;
    const cells = [key(trip), trip.pop || "", lost ? "lost" : ms(trip.rtt_ms), ms(trip.model_ms), ms(trip.best_ms)];
    cells.forEach((text, place) => write(row.cells[place], text));
    row.dataset.state = lost ? "lost" : "";
    spark(row.lastChild.firstChild, trip.recent);
  });
  write(document.getElementById("trips-said"), sentence(trips));
}

function make() {
  const row = element("tr");
  const head = element("th");
  head.scope = "row";
  row.append(head, ...[1, 2, 3, 4, 5].map(() => element("td")));
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  picture.setAttribute("class", "spark");
  picture.setAttribute("role", "img");
  for (const kind of ["times", "losses"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", kind);
    picture.append(path);
  }
  row.lastChild.append(picture);
  return row;
}

/** The last round trips as a line from 0 to the longest; those that were lost are strokes. */
function spark(picture, recent) {
  const most = Math.max(...recent.filter((x) => x !== null), 0.001);
  const step = WIDTH / Math.max(recent.length - 1, 1);
  const x = (place) => (place * step).toFixed(1);
  const y = (value) => (HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1);
  let times = "";
  let losses = "";
  recent.forEach((value, place) => {
    if (value === null) losses += `M${x(place)},2 V${HEIGHT - 2} `;
    else times += `${place && recent[place - 1] !== null ? "L" : "M"}${x(place)},${y(value)} `;
  });
  // One that stands between two losses has no length: a dot shows it.
  picture.children[0].setAttribute("d", times.replace(/M(\S+) (?=M|$)/g, "M$1 h.1 "));
  picture.children[1].setAttribute("d", losses);
  const lost = recent.filter((value) => value === null).length;
  picture.setAttribute("aria-label", `last ${recent.length}: ${lost} lost, the longest ${ms(most)}`);
}

/** The emulator's own error now: the median over all that were answered. */
function sentence(trips) {
  const errors = trips
    .filter((trip) => trip.rtt_ms !== null && typeof trip.model_ms === "number")
    .map((trip) => 1000 * (trip.rtt_ms - trip.model_ms))
    .sort((a, b) => a - b);
  const lost = trips.filter((trip) => trip.rtt_ms === null).length;
  const said = lost ? `${lost} of ${trips.length} were lost at last.` : "";
  if (!errors.length) return said;
  const middle = errors[Math.floor(errors.length / 2)];
  return `The emulator's own error is ${middle.toFixed(0)} us now (median of ${errors.length}). ${said}`;
}
