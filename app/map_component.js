// The map: points on a canvas, drawn pixel by pixel, and a lasso on a second canvas above it. Coordinates are whole numbers
// in [0, SIDE]. A lasso goes to the server as its corners, so that it finds the same points (pipelines/curation/lasso.py).
// User-supplied text is inserted with textContent only, so it cannot inject HTML.

const SIDE = 65535, NO_GROUP = 65535;
const PADDING = 18; // pixels around the whole map
const TOOLBAR = 30; // pixels of its height
const HOVER_RADIUS = 9; // pixels around a point in which the pointer is on it
const HOVER_MS = 150; // after which the server is asked for the image of the point under the pointer
const CORNER_DISTANCE = 4; // pixels between two corners of a lasso
const MAX_CORNERS = 380; // of a ring
const MAX_RINGS = 20;
const MAX_ZOOM = 200, MIN_ZOOM = 0.5;
const FAINT = 0.13; // opacity of the points that are not selected
const maps = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let map = maps.get(parentElement);
  if (!map) {
    map = createMap(parentElement, data.initial);
    maps.set(parentElement, map);
  }
  map.setState = setStateValue;
  receive(map, data);
}

function createMap(root, initial) {
  const box = make("div", "map"), field = make("div", "field"), legend = make("div", "legend");
  const points = make("canvas"), overlay = make("canvas", "overlay"), tools = make("div", "tools"), tip = make("div", "tip");
  overlay.tabIndex = 0;
  overlay.setAttribute("role", "application");
  overlay.setAttribute("aria-label", "Map of the images. Arrow keys move it, plus and minus zoom, Enter selects the visible "
    + "images, Escape clears the selection.");
  tip.hidden = true;
  field.append(points, overlay, tools, tip);
  box.append(field, legend);
  root.append(box);
  const map = { root, field, legend, points, overlay, tools, tip, data: {}, x: null, y: null, group: null, hidden: new Set(initial.hidden),
    rings: parseLasso(initial.lasso), selected: null, mode: "lasso", zoom: 1, cx: SIDE / 2, cy: SIDE / 2, drag: null, highlighted: null,
    hovered: -1, hoverTimer: 0, previews: new Map(), scheduled: false, width: SIDE, height: SIDE };
  for (const [mode, name] of [["lasso", "Lasso"], ["box", "Box"], ["move", "Move"]])
    tools.append(makeButton(name, () => setMode(map, mode), mode));
  tools.append(makeButton("+", () => zoomBy(map, 1.5), "in", "Zoom in"), makeButton("−", () => zoomBy(map, 1 / 1.5), "out", "Zoom out"),
    makeButton("All", () => resetView(map), "all", "Show the whole map"));
  setMode(map, "lasso");
  listen(map);
  return map;
}

function listen(map) {
  const { overlay } = map;
  overlay.addEventListener("pointerdown", (event) => onPointerDown(map, event));
  overlay.addEventListener("pointermove", (event) => (map.drag ? onDrag(map, event) : onHover(map, event)));
  overlay.addEventListener("pointerup", (event) => onPointerUp(map, event));
  overlay.addEventListener("pointercancel", () => { map.drag = null; drawOverlay(map); });
  overlay.addEventListener("pointerleave", () => hideTip(map));
  overlay.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(map, Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  overlay.addEventListener("keydown", (event) => onKey(map, event));
  new ResizeObserver(() => draw(map)).observe(map.field);
  new MutationObserver(() => draw(map)).observe(document.documentElement, { attributes: true, subtree: false });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(map));
}

function receive(map, data) {
  const before = map.data;
  map.data = data;
  if (data.xy !== before.xy) {
    const xy = decodeUint16(data.xy);
    map.x = new Uint16Array(xy.length / 2);
    map.y = new Uint16Array(xy.length / 2);
    for (let k = 0; k < map.x.length; k++) [map.x[k], map.y[k]] = [xy[2 * k], xy[2 * k + 1]];
    map.order = shuffledIndices(map.x.length);
    [map.width, map.height] = [rangeOf(map.x), rangeOf(map.y)];
    map.selected = null;
    map.previews.clear();
  }
  if (data.preview) {
    map.previews.set(data.preview.point, data.preview);
    if (map.hovered === data.preview.point) drawTip(map);
  }
  if (data.groups !== before.groups) map.group = decodeUint16(data.groups);
  if (before.names && JSON.stringify(data.names) !== JSON.stringify(before.names)) map.hidden.clear();
  if (data.xy !== before.xy || data.groups !== before.groups || data.kind !== before.kind) drawLegend(map);
  draw(map);
}

// ---- what the pointer and the keys do

function onPointerDown(map, event) {
  if (event.button > 1) return;
  map.overlay.setPointerCapture(event.pointerId);
  hideTip(map);
  const pans = map.mode === "move" || event.button === 1;
  map.drag = { x: event.offsetX, y: event.offsetY, start: [event.offsetX, event.offsetY], pans, adds: event.shiftKey,
    ring: pans ? null : [toMapXY(map, event)] };
}

function onDrag(map, event) {
  const { drag } = map;
  if (drag.pans) {
    const { pixels } = transform(map, 1);
    map.cx -= (event.offsetX - drag.x) / pixels;
    map.cy -= (event.offsetY - drag.y) / pixels;
    [drag.x, drag.y] = [event.offsetX, event.offsetY];
    draw(map);
  } else if (map.mode === "box") {
    const [x1, y1] = drag.ring[0], [x2, y2] = toMapXY(map, event);
    drag.ring = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
    drawOverlay(map);
  } else if (Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) >= CORNER_DISTANCE) {
    drag.ring.push(toMapXY(map, event));
    [drag.x, drag.y] = [event.offsetX, event.offsetY];
    drawOverlay(map);
  }
}

function onPointerUp(map, event) {
  const { drag } = map;
  map.drag = null;
  if (!drag || drag.pans) return;
  const distance = Math.hypot(event.offsetX - drag.start[0], event.offsetY - drag.start[1]);
  if (drag.ring.length < 3 && distance < CORNER_DISTANCE) drag.ring = pointRing(map, event);
  setLasso(map, drag.ring && drag.ring.length > 2 ? [...(drag.adds ? map.rings : []), thinOut(drag.ring)] : []);
}

// Returns a small ring around the point under the pointer, null without one.
function pointRing(map, event) {
  const k = nearestPoint(map, event);
  if (k < 0) return null;
  const r = Math.max(1, Math.round(2 / transform(map, 1).pixels)), [x, y] = [map.x[k], map.y[k]];
  return [[-r, -r], [r, -r], [r, r], [-r, r]].map(([dx, dy]) => [clip(x + dx), clip(y + dy)]);
}

function setLasso(map, rings) {
  map.rings = rings.slice(-MAX_RINGS);
  map.selected = null;
  map.setState("lasso", map.rings.map((ring) => ring.map(([x, y]) => hex4(x) + hex4(y)).join("")).join("."));
  draw(map);
}

function onKey(map, event) {
  const by = 60 / transform(map, 1).pixels;
  const actions = { ArrowLeft: () => (map.cx -= by), ArrowRight: () => (map.cx += by), ArrowUp: () => (map.cy -= by),
    ArrowDown: () => (map.cy += by), "+": () => zoomBy(map, 1.3), "=": () => zoomBy(map, 1.3), "-": () => zoomBy(map, 1 / 1.3),
    0: () => resetView(map), Escape: () => setLasso(map, []), Enter: () => setLasso(map, [visibleArea(map)]) };
  if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  actions[event.key]();
  draw(map);
}

function visibleArea(map) {
  const { width, height } = map.field.getBoundingClientRect();
  return [[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) => toMapXY(map, { offsetX: x, offsetY: y }));
}

function onHover(map, event) {
  const k = nearestPoint(map, event);
  if (k < 0) return hideTip(map);
  map.pointer = [event.offsetX, event.offsetY];
  if (k !== map.hovered) {
    map.hovered = k;
    clearTimeout(map.hoverTimer);
    if (!map.previews.has(k)) map.hoverTimer = setTimeout(() => map.setState("hover", k), HOVER_MS);
  }
  drawTip(map);
}

// Draws the group of the point under the pointer, and its image once the server has sent it.
function drawTip(map) {
  const group = map.group[map.hovered], preview = map.previews.get(map.hovered), { tip } = map;
  const name = make("div", "", group === NO_GROUP ? map.data.missing_label : map.data.names[group]);
  tip.replaceChildren(name);
  if (preview?.src) {
    const img = make("img");
    img.alt = preview.name;
    img.src = preview.src;
    tip.prepend(img);
  }
  tip.hidden = false;
  const { width, height } = map.field.getBoundingClientRect(), [x, y] = map.pointer;
  tip.style.left = `${Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, height - tip.offsetHeight - 4))}px`;
}

function hideTip(map) {
  map.tip.hidden = true;
  map.hovered = -1;
  clearTimeout(map.hoverTimer);
}

function nearestPoint(map, event) {
  const { toX, toY } = transform(map, 1);
  let nearest = -1, least = HOVER_RADIUS * HOVER_RADIUS;
  for (let k = 0; k < map.x.length; k++) {
    const dx = toX(map.x[k]) - event.offsetX, dy = toY(map.y[k]) - event.offsetY, squared = dx * dx + dy * dy;
    if (squared < least && !map.hidden.has(map.group[k])) [nearest, least] = [k, squared];
  }
  return nearest;
}

// Zooms around a point of the screen, without one around the centre.
function zoomBy(map, factor, x, y) {
  const { width, height } = map.field.getBoundingClientRect(), before = transform(map, 1);
  const dx = (x ?? width / 2) - width / 2, dy = (y ?? height / 2) - height / 2;
  map.zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, map.zoom * factor));
  const after = transform(map, 1);
  map.cx += dx / before.pixels - dx / after.pixels;
  map.cy += dy / before.pixels - dy / after.pixels;
  draw(map);
}

function resetView(map) {
  Object.assign(map, { zoom: 1, cx: SIDE / 2, cy: SIDE / 2 });
  draw(map);
}

function setMode(map, mode) {
  map.mode = mode;
  map.field.classList.toggle("moving", mode === "move");
  for (const tool of map.tools.children)
    if (["lasso", "box", "move"].includes(tool.dataset.name)) tool.setAttribute("aria-pressed", String(tool.dataset.name === mode));
}
