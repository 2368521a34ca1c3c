// Zoom and pan of the map: by buttons, by keys, by Ctrl and the wheel (a pinch on a touchpad), by drag.

const svg = document.querySelector("svg.map");
const region = svg.parentElement;
const { width, height } = svg.viewBox.baseVal;
const MOST = 16;
const STEP = 1.5;
const FAR = 5; // a drag of fewer pixels is a click
let zoom = 1;
let corner = { x: 0, y: 0 };
const REST_MS = 200; // after so long without a move all is drawn as well as it can be
let due = false;
let resting = 0;

/** Make it work. */
export function prepare() {
  for (const button of document.querySelectorAll("[data-zoom-by]")) {
    button.addEventListener("click", () => by(Number(button.dataset.zoomBy)));
  }
  region.addEventListener("keydown", key);
  svg.addEventListener("wheel", wheel, { passive: false });
  svg.addEventListener("pointerdown", drag);
  show();
}

/** Zoom by a factor about a point of the map, its middle if none is given; by 0 to the whole. */
function by(factor, at = middle()) {
  const next = factor ? Math.min(Math.max(zoom * factor, 1), MOST) : 1;
  const keeps = (from, point) => point - (point - from) * (zoom / next);
  corner = { x: keeps(corner.x, at.x), y: keeps(corner.y, at.y) };
  zoom = next;
  change();
}

function move(x, y) {
  corner = { x: corner.x + x, y: corner.y + y };
  change();
}

function middle() {
  return { x: corner.x + width / zoom / 2, y: corner.y + height / zoom / 2 };
}

/** Draw at the next frame, however much has changed until then. */
function change() {
  const within = (at, size) => Math.min(Math.max(at, 0), size - size / zoom);
  corner = { x: within(corner.x, width), y: within(corner.y, height) };
  svg.classList.add("moving");
  clearTimeout(resting);
  resting = setTimeout(() => svg.classList.remove("moving"), REST_MS);
  if (due) return;
  due = true;
  requestAnimationFrame(show);
}

function show() {
  due = false;
  svg.setAttribute("viewBox", `${corner.x} ${corner.y} ${width / zoom} ${height / zoom}`);
  if (svg.dataset.zoom === String(zoom)) return;
  svg.dataset.zoom = zoom;
  svg.classList.toggle("zoomed", zoom > 1);
  svg.style.setProperty("--near", 1 / zoom);
  for (const label of svg.querySelectorAll("[data-from-zoom]")) {
    label.toggleAttribute("hidden", zoom < Number(label.dataset.fromZoom));
  }
  for (const button of document.querySelectorAll("[data-zoom-by]")) {
    button.disabled = Number(button.dataset.zoomBy) > 1 ? zoom >= MOST : zoom <= 1;
  }
}

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const [x, y] = [width / zoom / 8, height / zoom / 8];
  const keys = {
    "+": () => by(STEP),
    "=": () => by(STEP),
    "-": () => by(1 / STEP),
    0: () => by(0),
  };
  const arrows = {
    ArrowLeft: () => move(-x, 0),
    ArrowRight: () => move(x, 0),
    ArrowUp: () => move(0, -y),
    ArrowDown: () => move(0, y),
  };
  const does = keys[event.key] ?? (zoom > 1 && arrows[event.key]); // else the page scrolls
  if (!does) return;
  event.preventDefault();
  does();
}

function wheel(event) {
  if (!event.ctrlKey) return;
  event.preventDefault();
  by(STEP ** (-event.deltaY / 100), place(event));
}

/** Where a pointer is on the map. */
function place(event) {
  const box = svg.getBoundingClientRect();
  const part = (at, from, size) => (at - from) / size / zoom;
  return {
    x: corner.x + part(event.clientX, box.left, box.width) * width,
    y: corner.y + part(event.clientY, box.top, box.height) * height,
  };
}

function drag(start) {
  if (zoom === 1 || start.button !== 0) return;
  const grip = place(start);
  let far = false;
  const pull = (event) => {
    far ||= Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > FAR;
    if (!far) return;
    svg.setPointerCapture(start.pointerId); // only now: a click goes to what is under it
    const now = place(event);
    move(grip.x - now.x, grip.y - now.y);
  };
  const end = () => {
    svg.removeEventListener("pointermove", pull);
    for (const name of ["pointerup", "pointercancel"]) svg.removeEventListener(name, end);
    if (far) svg.addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => svg.removeEventListener("click", swallow, { capture: true }));
  };
  svg.addEventListener("pointermove", pull);
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, end);
}

function swallow(event) {
  event.stopPropagation();
}
