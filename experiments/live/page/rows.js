// Elements that follow a list: each is made once, by its key, and keeps its focus when it changes.

/** Change a node's text, if it is another one. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
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
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const name = String(key(item));
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    if (parent.children[place] !== child) {
      // What has the focus stays where it is: to move it would take the focus away.
      if (child.isConnected && child.contains(document.activeElement)) {
        while (parent.children[place] !== child) parent.append(parent.children[place]);
      } else {
        parent.insertBefore(child, parent.children[place] ?? null);
      }
    }
    update(child, item);
  });
  old.forEach((child) => child.remove());
}

/** Let a table have a row for each item: a button for what can be opened, and plain cells. */
export function table(name, items, key, cells, open) {
  const body = document.querySelector(`#${name} tbody`);
  const make = (item) => {
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    if (open) head.append(button("", () => open(key(item))));
    row.append(head, ...cells(item).slice(1).map(() => element("td")));
    return row;
  };
  follow(body, items, key, make, (row, item) => {
    const [head, ...others] = cells(item);
    write(open ? row.cells[0].firstChild : row.cells[0], head);
    others.forEach((text, place) => write(row.cells[place + 1], text));
    if (item.state) row.dataset.state = item.state;
  });
}
