// The map: points on a canvas, drawn pixel by pixel, and a lasso on another above it. Places are whole numbers in
// [0, SIDE]; a lasso is told as its corners in them, so that the server finds the same points (pipelines/curation/lasso.py).
// Names are other people's text and go in by textContent.

const SIDE = 65535, NOTHING = 65535;
const PAD = 18; // pixels around the map at the beginning
const TOOLS = 30; // pixels above it that the tools take
const NEAR = 9; // pixels within which a point answers the pointer
const STEP = 4; // pixels between two corners of a lasso
const MOST = 380; // corners a ring
const FAR = 200; // times that one can come nearer
const FAINT = 0.13; // how much is left of the points that are not chosen
const HOLLOW = 0.5; // how much of a hollow point's radius is open
const LEAST = 2.5; // pixels of radius that a hollow point must have
const maps = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let map = maps.get(parentElement);
  if (!map) {
    map = opened(parentElement, data.start);
    maps.set(parentElement, map);
  }
  map.say = setStateValue;
  take(map, data);
}

function opened(root, start) {
  const box = make("div", "scatter"), field = make("div", "field"), legend = make("div", "legend");
  const under = make("canvas"), top = make("canvas", "top"), tools = make("div", "tools"), tip = make("div", "tip");
  top.tabIndex = 0;
  top.setAttribute("role", "application");
  top.setAttribute("aria-label", "Map of the images. Arrows move it, plus and minus bring it nearer or farther, Enter "
    + "chooses what is in sight, Escape lets go.");
  tip.hidden = true;
  field.append(under, top, tools, tip);
  box.append(field, legend);
  root.append(box);
  const map = { root, field, legend, under, top, tools, tip, data: {}, x: null, y: null, group: null, hidden: new Set(start.hidden),
    rings: read(start.lasso), mode: "lasso", zoom: 1, cx: SIDE / 2, cy: SIDE / 2, drag: null, alone: null, due: false, wide: SIDE, high: SIDE };
  for (const [mode, name] of [["lasso", "Lasso"], ["box", "Box"], ["move", "Move"]])
    tools.append(button(name, () => choose(map, mode), mode));
  tools.append(button("+", () => nearer(map, 1.5), "in", "Nearer"), button("−", () => nearer(map, 1 / 1.5), "out", "Farther"),
    button("All", () => whole(map), "all", "The whole map"));
  choose(map, "lasso");
  listen(map);
  return map;
}

function listen(map) {
  const { top } = map;
  top.addEventListener("pointerdown", (event) => down(map, event));
  top.addEventListener("pointermove", (event) => (map.drag ? drag(map, event) : hover(map, event)));
  top.addEventListener("pointerup", (event) => up(map, event));
  top.addEventListener("pointercancel", () => { map.drag = null; overlay(map); });
  top.addEventListener("pointerleave", () => (map.tip.hidden = true));
  top.addEventListener("wheel", (event) => {
    event.preventDefault();
    nearer(map, Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  top.addEventListener("keydown", (event) => key(map, event));
  new ResizeObserver(() => draw(map)).observe(map.field);
  new MutationObserver(() => draw(map)).observe(document.documentElement, { attributes: true, subtree: false });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(map));
}

function take(map, data) {
  const before = map.data;
  map.data = data;
  if (data.places !== before.places) {
    const both = numbers(data.places);
    map.x = new Uint16Array(both.length / 2);
    map.y = new Uint16Array(both.length / 2);
    for (let k = 0; k < map.x.length; k++) [map.x[k], map.y[k]] = [both[2 * k], both[2 * k + 1]];
    map.order = shuffled(map.x.length);
    [map.wide, map.high] = [extent(map.x), extent(map.y)];
    map.chosen = null;
  }
  if (data.groups !== before.groups) map.group = numbers(data.groups);
  if (before.names && JSON.stringify(data.names) !== JSON.stringify(before.names)) map.hidden.clear();
  if (data.places !== before.places || data.groups !== before.groups || data.kind !== before.kind) key_to(map);
  draw(map);
}

// What a hand does ---------------------------------------------------------------------------------------------------

function down(map, event) {
  if (event.button > 1) return;
  map.top.setPointerCapture(event.pointerId);
  map.tip.hidden = true;
  const moves = map.mode === "move" || event.button === 1;
  map.drag = { x: event.offsetX, y: event.offsetY, from: [event.offsetX, event.offsetY], moves, more: event.shiftKey,
    ring: moves ? null : [place(map, event)] };
}

function drag(map, event) {
  const { drag } = map;
  if (drag.moves) {
    const at = scale(map, 1);
    map.cx -= (event.offsetX - drag.x) / at.per;
    map.cy -= (event.offsetY - drag.y) / at.per;
    [drag.x, drag.y] = [event.offsetX, event.offsetY];
    draw(map);
  } else if (map.mode === "box") {
    const [x1, y1] = drag.ring[0], [x2, y2] = place(map, event);
    drag.ring = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
    overlay(map);
  } else if (Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) >= STEP) {
    drag.ring.push(place(map, event));
    [drag.x, drag.y] = [event.offsetX, event.offsetY];
    overlay(map);
  }
}

function up(map, event) {
  const { drag } = map;
  map.drag = null;
  if (!drag || drag.moves) return;
  const far = Math.hypot(event.offsetX - drag.from[0], event.offsetY - drag.from[1]);
  if (drag.ring.length < 3 && far < STEP) drag.ring = around(map, event);
  settle(map, drag.ring && drag.ring.length > 2 ? [...(drag.more ? map.rings : []), thinned(drag.ring)] : []);
}

function around(map, event) {
  const k = nearest(map, event);
  if (k < 0) return null;
  const by = Math.max(1, Math.round(2 / scale(map, 1).per)), [x, y] = [map.x[k], map.y[k]];
  return [[-by, -by], [by, -by], [by, by], [-by, by]].map(([dx, dy]) => [clip(x + dx), clip(y + dy)]);
}

function settle(map, rings) {
  map.rings = rings.slice(-20);
  map.chosen = null;
  map.say("lasso", map.rings.map((ring) => ring.map(([x, y]) => four(x) + four(y)).join("")).join("."));
  draw(map);
}

function key(map, event) {
  const by = 60 / scale(map, 1).per;
  const acts = { ArrowLeft: () => (map.cx -= by), ArrowRight: () => (map.cx += by), ArrowUp: () => (map.cy -= by),
    ArrowDown: () => (map.cy += by), "+": () => nearer(map, 1.3), "=": () => nearer(map, 1.3), "-": () => nearer(map, 1 / 1.3),
    0: () => whole(map), Escape: () => settle(map, []), Enter: () => settle(map, [sight(map)]) };
  if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  acts[event.key]();
  draw(map);
}

function sight(map) {
  const { width, height } = map.field.getBoundingClientRect();
  return [[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) => place(map, { offsetX: x, offsetY: y }));
}

function hover(map, event) {
  const k = nearest(map, event);
  map.tip.hidden = k < 0;
  if (k < 0) return;
  const group = map.group[k];
  map.tip.textContent = group === NOTHING ? map.data.unknown : map.data.names[group];
  const { width } = map.field.getBoundingClientRect();
  map.tip.style.left = `${Math.min(event.offsetX + 14, width - map.tip.offsetWidth - 4)}px`;
  map.tip.style.top = `${event.offsetY + 14}px`;
}

function nearest(map, event) {
  const at = scale(map, 1);
  let best = -1, least = NEAR * NEAR;
  for (let k = 0; k < map.x.length; k++) {
    const dx = at.x(map.x[k]) - event.offsetX, dy = at.y(map.y[k]) - event.offsetY, far = dx * dx + dy * dy;
    if (far < least && !map.hidden.has(map.group[k])) [best, least] = [k, far];
  }
  return best;
}

function nearer(map, times, x, y) {
  const { width, height } = map.field.getBoundingClientRect(), before = scale(map, 1);
  const dx = (x ?? width / 2) - width / 2, dy = (y ?? height / 2) - height / 2;
  map.zoom = Math.min(FAR, Math.max(0.5, map.zoom * times));
  const after = scale(map, 1);
  map.cx += dx / before.per - dx / after.per;
  map.cy += dy / before.per - dy / after.per;
  draw(map);
}

function whole(map) {
  Object.assign(map, { zoom: 1, cx: SIDE / 2, cy: SIDE / 2 });
  draw(map);
}

function choose(map, mode) {
  map.mode = mode;
  map.field.classList.toggle("moving", mode === "move");
  for (const tool of map.tools.children)
    if (["lasso", "box", "move"].includes(tool.dataset.name)) tool.setAttribute("aria-pressed", String(tool.dataset.name === mode));
}
