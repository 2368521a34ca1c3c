// The map: every city has the mark of the PoP that serves it, every link says whether it lives.

const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = "M-1,0 a1,1 0 1,0 2,0 a1,1 0 1,0 -2,0 Z";
export const marks = JSON.parse(document.getElementById("marks").textContent);

/** A click on a PoP or a link opens it. */
export function prepare(openPop, openLink) {
  for (const line of document.querySelectorAll(".line")) {
    const drawn = line.querySelector(".drawn");
    const middle = drawn.getPointAtLength(drawn.getTotalLength() / 2);
    const there = document.createElementNS(SVG, "g");
    const cross = document.createElementNS(SVG, "path");
    there.setAttribute("transform", `translate(${middle.x} ${middle.y})`);
    cross.setAttribute("class", "cross");
    cross.setAttribute("d", "M-7,-7 L7,7 M-7,7 L7,-7");
    there.append(cross);
    line.append(there);
    line.addEventListener("click", () => openLink(line.dataset.link));
  }
  for (const spot of document.querySelectorAll(".spot[data-pop]")) {
    spot.addEventListener("click", () => openPop(spot.dataset.pop));
  }
}

/** Show a lab on the map. */
export function draw(lab) {
  for (const link of lab.links) {
    for (const line of document.querySelectorAll(`[data-link="${CSS.escape(link.link)}"]`)) {
      line.dataset.state = link.state;
      say(line, `${link.kind} ${link.ends.join(" - ")}, ${link.delay_ms} ms one way, ${link.state}`);
    }
  }
  const states = new Map(lab.pops.map((pop) => [pop.pop, pop.state]));
  for (const spot of document.querySelectorAll(".spot")) {
    const city = spot.dataset.city;
    const served = lab.cities[city];
    mark(spot, served, Boolean(spot.dataset.pop), served === city);
    if (spot.dataset.pop) spot.dataset.state = states.get(city);
    const pop = spot.dataset.pop ? `, PoP, ${states.get(city)}` : "";
    say(spot, `${city}${pop}, ${served ? `served by ${served}` : "served by nobody"}`);
  }
}

/** Draw links by what they carry (bit/s): each ten times more is as much wider. */
export function carry(traffic) {
  for (const line of document.querySelectorAll(".line")) {
    const bits = traffic[line.dataset.link] ?? 0;
    const width = Math.min(1.4 + 1.7 * Math.log10(1 + bits / 2000), 12);
    line.querySelector(".drawn").style.setProperty("--width", bits ? width.toFixed(1) : "");
  }
}

function mark(spot, served, inPop, own) {
  const shape = spot.querySelector(".mark");
  const [colour, outline] = served ? marks[served] : ["none", CIRCLE];
  spot.dataset.served = served ?? "";
  shape.setAttribute("class", served ? (inPop ? "mark inner" : "mark") : "mark bare");
  shape.setAttribute("d", outline);
  shape.setAttribute("transform", `scale(${served ? (inPop ? 4.5 : 6.5) : 4})`);
  if (served) shape.setAttribute("fill", own ? "#fff" : colour);
  else shape.removeAttribute("fill");
}

/** The mark of a PoP's clients, as a picture of its own. */
export function badge(pop) {
  const picture = document.createElementNS(SVG, "svg");
  const shape = document.createElementNS(SVG, "path");
  const [colour, outline] = marks[pop];
  picture.setAttribute("viewBox", "-2 -2 4 4");
  picture.setAttribute("class", "swatch");
  picture.setAttribute("aria-hidden", "true");
  shape.setAttribute("d", outline);
  shape.setAttribute("fill", colour);
  picture.append(shape);
  return picture;
}

function say(group, text) {
  const title = group.querySelector("title");
  if (title.textContent !== text) title.textContent = text;
}
