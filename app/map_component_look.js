// Draws the map; map_component.js, which follows this text, has its state and its actions.

function draw(map) {
  if (map.scheduled) return;
  map.scheduled = true;
  requestAnimationFrame(() => { map.scheduled = false; drawPoints(map); drawOverlay(map); });
}

function drawPoints(map) {
  const ratio = devicePixelRatio || 1, { width, height } = fitCanvas(map, map.points, ratio);
  if (!width || !height || !map.x) return;
  const canvas = map.points.getContext("2d"), image = canvas.createImageData(width, height), pixels = image.data;
  const { paper, ink } = theme(map), palette = groupColors(map, paper, ink);
  for (let k = 0; k < pixels.length; k += 4) {
    pixels[k] = paper[0];
    pixels[k + 1] = paper[1];
    pixels[k + 2] = paper[2];
    pixels[k + 3] = 255;
  }
  const { toX, toY } = transform(map, ratio), selected = lassoMask(map);
  const radius = ratio * Math.min(5, Math.max(1.3, 260 / Math.sqrt(map.x.length)) * Math.sqrt(Math.sqrt(map.zoom)));
  const small = disc(radius * 0.8), full = disc(radius);
  let drawn = 0;
  for (const layer of [0, 1]) for (let n = 0; n < map.x.length; n++) {
    const k = map.order[n], group = map.group[k];
    if ((group === NO_GROUP ? 0 : 1) !== layer || map.hidden.has(group)) continue;
    const px = toX(map.x[k]), py = toY(map.y[k]);
    if (px < -9 || py < -9 || px > width + 9 || py > height + 9) continue;
    const faint = (selected && !selected[k]) || (map.highlighted !== null && map.highlighted !== group);
    const dot = layer ? full : small;
    drawDot(pixels, width, height, px, py, dot, group === NO_GROUP ? palette.missing : palette.groups[group], faint ? FAINT : layer ? 0.85 : 0.5);
    drawn += 1;
  }
  canvas.putImageData(image, 0, 0);
  map.root.host?.setAttribute("data-drawn", `${drawn} ${Math.round(performance.now())}`);
}

// Returns the pixels of a disc as dx, dy and the share of the pixel that it covers, repeated.
function disc(radius) {
  const reach = Math.ceil(radius), pixels = [];
  for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
    const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
    if (share > 0) pixels.push(dx, dy, share);
  }
  return pixels;
}

function drawDot(pixels, width, height, x, y, dot, color, opacity) {
  const cx = Math.round(x), cy = Math.round(y);
  for (let n = 0; n < dot.length; n += 3) {
    const px = cx + dot[n], py = cy + dot[n + 1];
    if (px < 0 || py < 0 || px >= width || py >= height) continue;
    const k = 4 * (py * width + px), a = dot[n + 2] * opacity;
    pixels[k] += (color[0] - pixels[k]) * a;
    pixels[k + 1] += (color[1] - pixels[k + 1]) * a;
    pixels[k + 2] += (color[2] - pixels[k + 2]) * a;
  }
}

function drawOverlay(map) {
  const ratio = devicePixelRatio || 1;
  fitCanvas(map, map.overlay, ratio);
  const canvas = map.overlay.getContext("2d"), { toX, toY } = transform(map, ratio);
  canvas.clearRect(0, 0, map.overlay.width, map.overlay.height);
  const { ink } = theme(map);
  canvas.strokeStyle = `rgb(${ink})`;
  canvas.fillStyle = `rgba(${ink}, 0.06)`;
  canvas.lineWidth = 1.5 * ratio;
  const drawing = map.drag?.ring ? [map.drag.ring] : [];
  for (const ring of [...(map.drag?.ring && !map.drag.adds ? [] : map.rings), ...drawing]) {
    canvas.beginPath();
    ring.forEach(([x, y], n) => canvas[n ? "lineTo" : "moveTo"](toX(x), toY(y)));
    canvas.closePath();
    canvas.fill();
    canvas.stroke();
  }
}

// Returns the colour of each group, and of points without one.
function groupColors(map, paper, ink) {
  const mix = (a, b, share) => a.map((v, k) => Math.round(v + (b[k] - v) * share));
  const neutral = mix(paper, ink, 0.3), colors = map.data.colors.map((c) => (c === "neutral" ? neutral : parseColor(c)));
  if (map.data.kind === "classes") return { groups: colors, missing: mix(paper, ink, 0.34) };
  const last = map.data.names.length - 1, groups = map.data.names.map((_, k) => {
    const position = (k / last) * (colors.length - 1), low = Math.min(colors.length - 2, Math.floor(position));
    return mix(colors[low], colors[low + 1], position - low);
  });
  return { groups, missing: mix(paper, ink, 0.16) };
}

function drawLegend(map) {
  const { data, legend } = map, { paper, ink } = theme(map), palette = groupColors(map, paper, ink), names = make("div", "names");
  legend.replaceChildren();
  if (data.kind !== "classes") {
    const ramp = make("div", "ramp"), ends = make("div", "ends");
    ramp.style.background = `linear-gradient(90deg, ${palette.groups.map((c) => `rgb(${c})`).join(", ")})`;
    for (const text of data.ends) ends.append(make("span", "", text));
    legend.append(ramp, ends);
  } else data.names.forEach((name, k) => data.counts[k] && names.append(legendEntry(map, k, name, data.counts[k], palette.groups[k])));
  if (data.missing) names.append(legendEntry(map, NO_GROUP, data.missing_label, data.missing, palette.missing));
  const help = ["Draw around points to select them; hold Shift to add more.", "Zoom with the wheel or + and −.",
    data.kind === "classes" ? "Click a name to hide it, with Shift to hide all others." : ""];
  legend.append(names, make("div", "help", help.join(" ")));
}

function legendEntry(map, group, name, count, color) {
  const row = make("button"), dot = make("span", "dot");
  dot.style.background = `rgb(${color})`;
  row.append(dot, make("span", "name", name), make("span", "count", count.toLocaleString("en")));
  row.title = name;
  row.setAttribute("aria-pressed", String(!map.hidden.has(group)));
  row.dataset.group = group;
  row.onclick = (event) => {
    if (event.shiftKey) toggleOthers(map, group);
    else if (!map.hidden.delete(group)) map.hidden.add(group);
    for (const other of row.parentElement.children) other.setAttribute("aria-pressed", String(!map.hidden.has(Number(other.dataset.group))));
    map.setState("hidden", [...map.hidden]);
    draw(map);
  };
  row.onpointerenter = row.onfocus = () => { map.highlighted = group; draw(map); };
  row.onpointerleave = row.onblur = () => { map.highlighted = null; draw(map); };
  return row;
}

// Hides all groups but one, or shows all again if that one is alone already.
function toggleOthers(map, group) {
  const others = [...map.legend.querySelectorAll("[data-group]")].map((row) => Number(row.dataset.group)).filter((other) => other !== group);
  const isAlone = !map.hidden.has(group) && others.every((other) => map.hidden.has(other));
  map.hidden = new Set(isAlone ? [] : others);
}

// Returns for each point whether it is inside the lasso, null without a lasso.
function lassoMask(map) {
  if (!map.rings.length) return null;
  if (map.selected) return map.selected;
  map.selected = new Uint8Array(map.x.length);
  for (const ring of map.rings) for (let k = 0; k < map.x.length; k++) if (contains(ring, map.x[k], map.y[k])) map.selected[k] = 1;
  return map.selected;
}

function contains(ring, x, y) {
  let inside = false;
  for (let n = 0; n < ring.length; n++) {
    const [x1, y1] = ring[n], [x2, y2] = ring[(n + 1) % ring.length];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

function thinOut(ring) {
  const step = Math.ceil(ring.length / MAX_CORNERS);
  return ring.filter((_, n) => n % step === 0);
}

// Returns the pixels of one unit of the map, and the functions from its coordinates to pixels of a canvas.
function transform(map, ratio) {
  const { width, height } = map.field.getBoundingClientRect();
  const fit = Math.min((width - 2 * PADDING) / map.width, (height - 2 * PADDING - TOOLBAR) / map.height);
  const pixels = map.zoom * Math.max(fit, 1e-4);
  return { pixels, toX: (v) => ratio * (width / 2 + (v - map.cx) * pixels), toY: (v) => ratio * (height / 2 + (v - map.cy) * pixels) };
}

function toMapXY(map, event) {
  const { width, height } = map.field.getBoundingClientRect(), { pixels } = transform(map, 1);
  return [clip(map.cx + (event.offsetX - width / 2) / pixels), clip(map.cy + (event.offsetY - height / 2) / pixels)];
}

function fitCanvas(map, canvas, ratio) {
  const box = map.field.getBoundingClientRect(), width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return { width, height };
}

function theme(map) {
  const style = getComputedStyle(map.field);
  return { paper: parseColor(style.getPropertyValue("--st-background-color").trim()), ink: parseColor(style.getPropertyValue("--st-text-color").trim()) };
}

function rangeOf(values) {
  let low = SIDE, high = 0;
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return Math.max(1, high - low);
}

function shuffledIndices(n) {
  const order = Uint32Array.from({ length: n }, (_, k) => k);
  let seed = 1;
  for (let k = n - 1; k > 0; k--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (k + 1);
    [order[k], order[other]] = [order[other], order[k]];
  }
  return order;
}

function parseLasso(lasso) {
  return (lasso ? lasso.split(".") : []).map((ring) =>
    ring.match(/.{8}/g).map((corner) => [parseInt(corner.slice(0, 4), 16), parseInt(corner.slice(4), 16)]));
}

function decodeUint16(text) {
  return new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

function parseColor(color) {
  const digits = /^#(..)(..)(..)/.exec(color);
  return digits ? digits.slice(1).map((v) => parseInt(v, 16)) : (color.match(/[\d.]+/g) ?? [127, 127, 127]).slice(0, 3).map(Number);
}

const clip = (v) => Math.min(SIDE, Math.max(0, Math.round(v)));
const hex4 = (v) => v.toString(16).padStart(4, "0");

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function makeButton(text, act, name, title = "") {
  const button = make("button", "", text);
  Object.assign(button, { type: "button", onclick: act, title: title || text });
  button.setAttribute("aria-label", title || text);
  button.dataset.name = name;
  return button;
}
