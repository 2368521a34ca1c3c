// The way of a packet and of its answer: asked for by a form, told in lines, drawn on the map.

import { write } from "./rows.js";
import { post } from "./stream.js";

const at = (name) => document.getElementById(`way-${name}`);
const words = document.getElementById("way");
const NOTHING = { lines: [], links: { there: [], back: [] }, said: [] };
let asking = false;
let up = false;

/** Make the form work. */
export function prepare() {
  at("form").addEventListener("submit", (event) => {
    event.preventDefault(); // nothing is sent but by us
    ask();
  });
  at("clear").addEventListener("click", () => tell(NOTHING));
}

/** Whether there is a lab to ask. */
export function show(is) {
  up = is;
  refresh();
}

async function ask() {
  asking = true;
  refresh();
  const packet = {
    host: at("host").value.trim(),
    destination: at("destination").value.trim(),
    protocol: at("protocol").value,
    port: at("port").valueAsNumber,
  };
  const answer = await post("way", packet);
  asking = false;
  refresh();
  write(at("error"), answer.error ?? "");
  if (!answer.error) tell(answer);
}

function tell({ lines, links, said }) {
  write(words, lines.join("\n"));
  write(at("own-words"), said.join("\n"));
  at("said").hidden = !lines.length;
  words.hidden = at("clear").disabled = !lines.length;
  for (const line of document.querySelectorAll(".line")) {
    line.classList.toggle("there", links.there.includes(line.dataset.link));
    line.classList.toggle("back", links.back.includes(line.dataset.link));
  }
}

function refresh() {
  at("ask").disabled = asking || !up;
}
