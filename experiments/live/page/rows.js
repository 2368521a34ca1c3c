// Elements that follow a list: each is made once, by its key, and keeps its focus when it changes.

/** Change a node's text, if it is another one. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Bits a second, for people. */
export function bits(count) {
  const [size, unit] = count >= 1e6 ? [1e6, "Mbit/s"] : count >= 1e3 ? [1e3, "kbit/s"] : [1, "bit/s"];
  return `${+(count / size).toFixed(1)} ${unit}`;
}

/** An element with a class and a text. */
export function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

/** A button that does something. */
export function button(text, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/** Let the children of `parent` be one element for each item, in order. */
export function follow(parent, items, key, make, update) {
  const wanted = new Set(items.map((item) => String(key(item))));
  const there = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.key)) there.set(child.dataset.key, child);
    else child.remove();
  }
  items.forEach((item, place) => {
    const name = String(key(item));
    const child = there.get(name) ?? make(item);
    child.dataset.key = name;
    put(parent, child, place);
    update(child, item);
  });
}

/** Bring a child to its place. What has the focus would lose it, so that others make room for it. */
function put(parent, child, place) {
  if (child.contains(document.activeElement)) {
    while (parent.children[place] !== child) parent.append(parent.children[place]);
  } else if (parent.children[place] !== child) {
    parent.insertBefore(child, parent.children[place] ?? null);
  }
}

/** Let a table have a row for each item: a button if it can be opened, and plain cells. The cell at
 *  the place `long` may have many words; `badge` makes what stands beside the button. */
export function table(name, items, key, cells, { open, long, badge } = {}) {
  const body = document.querySelector(`#${name} tbody`);
  const make = (item) => {
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    if (open) head.append(button("", () => open(key(item))));
    if (badge) head.append(badge(item));
    const kinds = cells(item).slice(1).map((_, place) => (place + 1 === long ? "long" : ""));
    row.append(head, ...kinds.map((kind) => element("td", kind)));
    return row;
  };
  follow(body, items, key, make, (row, item) => {
    const [head, ...others] = cells(item);
    write(open ? row.cells[0].firstChild : row.cells[0], head);
    others.forEach((text, place) => write(row.cells[place + 1], text));
    if (item.state) row.dataset.state = item.state;
  });
}
