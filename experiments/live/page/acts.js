// What can be done: a dialog for whatever can be opened, floods, the policy, and undo.

import { bits, button, element, write } from "./rows.js";
import { post } from "./stream.js";
import { sentence, taken } from "./strips.js";

const at = (name) => document.getElementById(name);
let lab = null;
let acting = true; // what is played back cannot be changed
let undo = null;
let opened = null; // what the dialog shows: how it is found, told, and what can be done
let busy = false;

/** Send an act, or an undo, and say how it went: what was done, or why not. */
async function send(where, data) {
  if (busy) return null;
  busy = true;
  refresh();
  try {
    return await post(where, data);
  } finally {
    busy = false;
    refresh();
  }
}

async function act(word, params) {
  const answer = await send("act", { word, params });
  if (!answer) return;
  if (answer.error && at("dialog").open) {
    write(at("dialog-error"), answer.error);
    return;
  }
  at("dialog").close();
  say(answer, "Done");
}

async function takeBack() {
  if (!undo) return;
  const answer = await send("undo", { number: undo.number });
  if (answer) say(answer, "Undone");
}

function say(answer, what) {
  at("said").className = answer.error ? "refused" : "";
  write(at("said"), answer.error ?? `${what}: ${answer.said}.`);
}

/** Make the tools work. */
export function prepare() {
  at("dialog-close").addEventListener("click", () => at("dialog").close());
  at("dialog").addEventListener("close", () => (opened = null));
  at("set-policy").addEventListener("click", () => act("policy.set", { policy: at("policy").value }));
  at("undo").addEventListener("click", takeBack);
  at("flood-form")?.addEventListener("submit", (event) => {
    event.preventDefault(); // nothing is sent but by us
    const target = at("flood-target").value.trim();
    act("target.flood", { target, rate: `${at("flood-rate").value} Mbit/s` });
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && !event.shiftKey && event.key === "z" && !at("dialog").open) {
      event.preventDefault();
      takeBack();
    }
  });
}

/** What the lab is now; null while there is none to act on. */
export function show(now, last, may) {
  acting = may;
  if (now && now.policy !== at("policy").dataset.now) {
    at("policy").replaceChildren(...now.policies.map((policy) => element("option", "", policy)));
    at("policy").value = at("policy").dataset.now = now.policy;
  }
  lab = now;
  undo = now && last;
  write(at("undo"), undo ? `Undo: ${undo.text}` : "Nothing to undo");
  refresh();
}

/** Open a link, by its name. */
export function openLink(name) {
  const find = () => lab.links.find((link) => link.link === name);
  const delay = number("delay", find()?.delay_ms, { least: 0.001, unit: "ms" });
  const loss = number("loss", +(100 * find()?.loss).toFixed(3), { least: 0, unit: "%" });
  const set = { link: name, delay: delay.said, loss: loss.saidIfChanged }; // it is shown rounded
  open(`Link ${name}`, find, linkFacts, (link) => [
    choice("Cut", "link.cut", { link: name }, link.state !== "cut"),
    choice("Silence", "link.blackhole", { link: name }, link.state === "up" && link.shaped),
    choice("Restore", "link.restore", { link: name }, link.state !== "up" || link.changed),
    choice("Set", "link.set", set, link.shaped),
  ]);
  if (acting && find()?.shaped) at("dialog-acts").lastChild.before(delay.label, loss.label);
}

/** A number that is chosen in the dialog, and how it is said: `30 ms`. */
function number(name, now, { least, unit }) {
  const label = element("label", "", `${name} `);
  const input = element("input");
  Object.assign(input, { type: "number", id: `dialog-${name}`, min: least, step: "any", defaultValue: now });
  label.append(input, ` ${unit}`);
  const said = () => `${input.value} ${unit}`;
  const saidIfChanged = () => (input.value === input.defaultValue ? undefined : said());
  return { label, said, saidIfChanged };
}

function linkFacts(link) {
  return `${link.kind} from ${link.ends.join(" to ")}: ${link.state}, ${link.delay_ms} ms one way.`;
}

/** Open a PoP, by its city. */
export function openPop(name) {
  const find = () => lab.pops.find((pop) => pop.pop === name);
  const uplink = find()?.uplink.link;
  const now = (find()?.uplink.rate_bit_s ?? 1e7) / 1e6;
  const rate = number("uplink", now, { least: 0.001, unit: "Mbit/s" });
  open(`PoP ${name}`, find, popFacts, (pop) => [
    choice("Drain", "pop.drain", { pop: name }, pop.state !== "drained"),
    choice("Withdraw", "pop.withdraw", { pop: name }, pop.state !== "withdrawn"),
    choice("Announce", "pop.announce", { pop: name }, pop.state !== "announced"),
    choice("Limit", "link.set", { link: uplink, rate: rate.said }, pop.uplink.shaped),
    choice("No limit", "link.set", { link: uplink, rate: "none" }, pop.uplink.rate_bit_s !== null),
  ]);
  if (acting && find()) at("dialog-acts").children[3].before(rate.label);
}

function popFacts(pop) {
  const cities = pop.cities.join(", ") || "no city";
  return `${pop.name}, ${pop.state}. ${pop.serving} of ${pop.servers} servers serve ${cities}.`;
}

/** Open a flood, by its target. */
export function openFlood(name) {
  const find = () => lab.floods.find((flood) => flood.target === name);
  const facts = (flood) => `All clients together send it ${bits(flood.bit_s)}.`;
  open(`Flood of ${name}`, find, facts, () => [
    choice("Spare", "target.spare", { target: name }, true),
  ]);
}

/** Open a server, by its name. */
export function openServer(name) {
  const server = { server: name };
  open(`Server ${name}`, () => lab.servers.find((one) => one.server === name), serverFacts, (one) => [
    choice("Stop", "server.kill", server, one.state !== "killed"),
    choice("Start", "server.restart", server, one.state === "killed"),
    choice("Send nothing new", "server.sick", server, one.weight > 0),
    choice("Send new again", "server.well", server, one.weight === 0),
  ]);
}

function serverFacts(one) {
  const held = one.leases.join(", ") || "nothing";
  return `In ${one.pop}, ${one.state}. It has borrowed ${held}.`;
}

/** Open a port set, by its address and first port. */
export function openSet(name) {
  const find = () => taken(lab).find((set) => set.lease === name);
  open(`Port set ${name}`, find, (set) => `${sentence(set)}.`, (set) => [
    choice("Move", "lease.move", { lease: name, server: heir }, set.state === "lent"),
    choice("Revoke", "lease.revoke", { lease: name }, ["lent", "draining"].includes(set.state)),
  ]);
  if (!acting || !find()) return;
  const names = lab.servers.map((one) => one.server);
  const others = names.filter((server) => server !== find()?.server);
  const label = element("label", "", "to ");
  const select = element("select");
  select.id = "heir";
  select.append(...others.map((server) => element("option", "", server)));
  label.append(select);
  at("dialog-acts").firstChild.after(label);
}

const heir = () => document.getElementById("heir").value;

function choice(text, word, params, may) {
  return { text, word, params, may };
}

function open(title, find, facts, choices) {
  if (!lab || !find()) return;
  opened = { find, facts, choices };
  write(at("dialog-title"), title);
  write(at("dialog-error"), "");
  const buttons = (acting ? choices(find()) : []).map(({ text, word, params }) =>
    button(text, () => act(word, said(params))),
  );
  at("dialog-acts").replaceChildren(...buttons);
  refresh();
  at("dialog").showModal();
}

/** Parameters as they are now: some are chosen in the dialog, or left alone there. */
function said(params) {
  const entries = Object.entries(params).map(([name, x]) => [name, typeof x === "function" ? x() : x]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function refresh() {
  at("set-policy").disabled = busy || !lab;
  at("undo").disabled = busy || !undo;
  if (at("flood")) at("flood").disabled = busy || !lab;
  if (!opened) return;
  const item = lab && opened.find();
  write(at("dialog-facts"), item ? opened.facts(item) : "It is gone.");
  const may = item ? opened.choices(item).map((one) => one.may) : [];
  [...at("dialog-acts").querySelectorAll("button")].forEach((one, place) => {
    one.disabled = busy || !may[place];
  });
}
