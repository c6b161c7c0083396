// How the map looks; app/map_component.js says what a hand does with it. Both are one module.

function draw(map) {
  if (map.due) return;
  map.due = true;
  requestAnimationFrame(() => { map.due = false; paint(map); overlay(map); });
}

function paint(map) {
  const sharp = devicePixelRatio || 1, { width, height } = sized(map, map.under, sharp);
  if (!width || !height || !map.x) return;
  const pen = map.under.getContext("2d"), image = pen.createImageData(width, height), pixels = image.data;
  const { paper, ink } = theme(map), palette = colours(map, paper, ink);
  for (let k = 0; k < pixels.length; k += 4) {
    pixels[k] = paper[0];
    pixels[k + 1] = paper[1];
    pixels[k + 2] = paper[2];
    pixels[k + 3] = 255;
  }
  const at = scale(map, sharp), chosen = within(map);
  const size = sharp * Math.min(5, Math.max(1.3, 260 / Math.sqrt(map.x.length)) * Math.sqrt(Math.sqrt(map.zoom)));
  const small = disc(size * 0.8), full = disc(size), hollow = size < LEAST ? full : disc(size, size * HOLLOW);
  let drawn = 0;
  for (const layer of [0, 1]) for (let n = 0; n < map.x.length; n++) {
    const k = map.order[n], group = map.group[k];
    if ((group === NOTHING ? 0 : 1) !== layer || map.hidden.has(group)) continue;
    const px = at.x(map.x[k]), py = at.y(map.y[k]);
    if (px < -9 || py < -9 || px > width + 9 || py > height + 9) continue;
    const faint = (chosen && !chosen[k]) || (map.alone !== null && map.alone !== group);
    const dot = layer ? (isHollow(map, group) ? hollow : full) : small;
    splat(pixels, width, height, px, py, dot, group === NOTHING ? palette.nothing : palette.of[group], faint ? FAINT : layer ? 0.85 : 0.5);
    drawn += 1;
  }
  pen.putImageData(image, 0, 0);
  map.root.host?.setAttribute("data-drawn", `${drawn} ${Math.round(performance.now())}`);
}

function disc(radius, hole = -1) {
  const reach = Math.ceil(radius), cover = [];
  for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
    const far = Math.hypot(dx, dy), edge = Math.min(1, Math.max(0, radius + 0.5 - far));
    const share = edge * Math.min(1, Math.max(0, far + 0.5 - hole));
    if (share > 0) cover.push(dx, dy, share);
  }
  return cover;
}

function splat(pixels, width, height, x, y, dot, colour, strength) {
  const left = Math.round(x), up = Math.round(y);
  for (let n = 0; n < dot.length; n += 3) {
    const px = left + dot[n], py = up + dot[n + 1];
    if (px < 0 || py < 0 || px >= width || py >= height) continue;
    const k = 4 * (py * width + px), a = dot[n + 2] * strength;
    pixels[k] += (colour[0] - pixels[k]) * a;
    pixels[k + 1] += (colour[1] - pixels[k + 1]) * a;
    pixels[k + 2] += (colour[2] - pixels[k + 2]) * a;
  }
}

function overlay(map) {
  const sharp = devicePixelRatio || 1;
  sized(map, map.top, sharp);
  const pen = map.top.getContext("2d"), at = scale(map, sharp);
  pen.clearRect(0, 0, map.top.width, map.top.height);
  const { ink } = theme(map);
  pen.strokeStyle = `rgb(${ink})`;
  pen.fillStyle = `rgba(${ink}, 0.06)`;
  pen.lineWidth = 1.5 * sharp;
  const now = map.drag?.ring ? [map.drag.ring] : [];
  for (const ring of [...(map.drag?.ring && !map.drag.more ? [] : map.rings), ...now]) {
    pen.beginPath();
    ring.forEach(([x, y], n) => pen[n ? "lineTo" : "moveTo"](at.x(x), at.y(y)));
    pen.closePath();
    pen.fill();
    pen.stroke();
  }
}

function colours(map, paper, ink) {
  const mix = (one, other, share) => one.map((v, k) => Math.round(v + (other[k] - v) * share));
  const ground = mix(paper, ink, 0.3), round = map.data.round;
  const known = map.data.colours.map((c, k) => (c === "ground" ? ground : k % (2 * round) < round ? hex(c) : mix(hex(c), ink, 0.5)));
  const nothing = mix(paper, ink, 0.34);
  if (map.data.kind === "classes") return { of: known, nothing };
  const last = map.data.names.length - 1, of = map.data.names.map((_, k) => {
    const place = (k / last) * (known.length - 1), low = Math.min(known.length - 2, Math.floor(place));
    return mix(known[low], known[low + 1], place - low);
  });
  return { of, nothing: mix(paper, ink, 0.16) };
}

// Of 16 classes each has a colour of its own; of the next 16 the points are hollow, as far as they are large enough.
function isHollow(map, group) {
  return map.data.kind === "classes" && Math.floor(group / (2 * map.data.round)) % 2 === 1;
}

function key_to(map) {
  const { data, legend } = map, { paper, ink } = theme(map), palette = colours(map, paper, ink), names = make("div", "names");
  legend.replaceChildren();
  if (data.kind !== "classes") {
    const ramp = make("div", "ramp"), ends = make("div", "ends");
    ramp.style.background = `linear-gradient(90deg, ${palette.of.map((c) => `rgb(${c})`).join(", ")})`;
    for (const text of data.ends) ends.append(make("span", "", text));
    legend.append(ramp, ends);
  } else data.names.forEach((name, k) => data.counts[k] && names.append(entry(map, k, name, data.counts[k], palette.of[k])));
  if (data.nothing) names.append(entry(map, NOTHING, data.unknown, data.nothing, palette.nothing));
  const help = ["Drag around points to choose them; with Shift, more.", "Wheel or + and − to come nearer.",
    data.kind === "classes" ? "Press a name to hide it; with Shift, all others." : ""];
  legend.append(names, make("div", "keys", help.join(" ")));
}

function entry(map, group, name, count, colour) {
  const row = make("button"), dot = make("span", "dot");
  dot.classList.toggle("hollow", group !== NOTHING && isHollow(map, group));
  dot.style[dot.classList.contains("hollow") ? "borderColor" : "background"] = `rgb(${colour})`;
  row.append(dot, make("span", "name", name), make("span", "count", count.toLocaleString("en")));
  row.title = name;
  row.setAttribute("aria-pressed", String(!map.hidden.has(group)));
  row.dataset.group = group;
  row.onclick = (event) => {
    if (event.shiftKey) alone(map, group);
    else if (!map.hidden.delete(group)) map.hidden.add(group);
    for (const one of row.parentElement.children) one.setAttribute("aria-pressed", String(!map.hidden.has(Number(one.dataset.group))));
    map.say("hidden", [...map.hidden]);
    draw(map);
  };
  row.onpointerenter = row.onfocus = () => { map.alone = group; draw(map); };
  row.onpointerleave = row.onblur = () => { map.alone = null; draw(map); };
  return row;
}

function alone(map, group) {
  const others = [...map.legend.querySelectorAll("[data-group]")].map((row) => Number(row.dataset.group)).filter((one) => one !== group);
  const already = !map.hidden.has(group) && others.every((one) => map.hidden.has(one));
  map.hidden = new Set(already ? [] : others);
}

function within(map) {
  if (!map.rings.length) return null;
  if (map.chosen) return map.chosen;
  map.chosen = new Uint8Array(map.x.length);
  for (const ring of map.rings) for (let k = 0; k < map.x.length; k++) if (holds(ring, map.x[k], map.y[k])) map.chosen[k] = 1;
  return map.chosen;
}

function holds(ring, x, y) {
  let inside = false;
  for (let n = 0; n < ring.length; n++) {
    const [x1, y1] = ring[n], [x2, y2] = ring[(n + 1) % ring.length];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

function thinned(ring) {
  const step = Math.ceil(ring.length / MOST);
  return ring.filter((_, n) => n % step === 0);
}

function scale(map, sharp) {
  const { width, height } = map.field.getBoundingClientRect();
  const fit = Math.min((width - 2 * PAD) / map.wide, (height - 2 * PAD - TOOLS) / map.high);
  const per = map.zoom * Math.max(fit, 1e-4);
  return { per, x: (v) => sharp * (width / 2 + (v - map.cx) * per), y: (v) => sharp * (height / 2 + (v - map.cy) * per) };
}

function place(map, event) {
  const { width, height } = map.field.getBoundingClientRect(), { per } = scale(map, 1);
  return [clip(map.cx + (event.offsetX - width / 2) / per), clip(map.cy + (event.offsetY - height / 2) / per)];
}

function sized(map, canvas, sharp) {
  const box = map.field.getBoundingClientRect(), width = Math.round(box.width * sharp), height = Math.round(box.height * sharp);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return { width, height };
}

function theme(map) {
  const style = getComputedStyle(map.field);
  return { paper: hex(style.getPropertyValue("--st-background-color").trim()), ink: hex(style.getPropertyValue("--st-text-color").trim()) };
}

function extent(values) {
  let low = SIDE, high = 0;
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return Math.max(1, high - low);
}

function shuffled(n) {
  const order = Uint32Array.from({ length: n }, (_, k) => k);
  let seed = 1;
  for (let k = n - 1; k > 0; k--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (k + 1);
    [order[k], order[other]] = [order[other], order[k]];
  }
  return order;
}

function read(lasso) {
  return (lasso ? lasso.split(".") : []).map((ring) =>
    ring.match(/.{8}/g).map((corner) => [parseInt(corner.slice(0, 4), 16), parseInt(corner.slice(4), 16)]));
}

function numbers(text) {
  return new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

function hex(colour) {
  const found = /^#(..)(..)(..)/.exec(colour);
  return found ? found.slice(1).map((v) => parseInt(v, 16)) : (colour.match(/[\d.]+/g) ?? [127, 127, 127]).slice(0, 3).map(Number);
}

const clip = (v) => Math.min(SIDE, Math.max(0, Math.round(v)));
const four = (v) => v.toString(16).padStart(4, "0");

function make(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

function button(text, act, name, title = "") {
  const made = make("button", "", text);
  Object.assign(made, { type: "button", onclick: act, title: title || text });
  made.setAttribute("aria-label", title || text);
  made.dataset.name = name;
  return made;
}
