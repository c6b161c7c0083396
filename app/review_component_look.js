// Draws the review component; review_component.js, which follows this text, has its state and its actions.

const SOURCES = { model: "Prediction", neighbours: "Label of a similar image" };

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function makeImage(src, alt, problem = "This file cannot be read.") {
  if (src === null) return make("p", "unreadable", problem);
  const img = make("img");
  img.alt = alt;
  img.decoding = "sync";
  img.src = src;
  img.decode?.().catch(() => {});
  return img;
}

function makeButton(view, text, key, act, className = "", title = "") {
  const button = make("button", className);
  button.type = "button";
  if (key) {
    button.append(make("kbd", "", key));
    button.setAttribute("aria-keyshortcuts", key === "⏎" ? "Enter" : key);
  }
  button.append(make("span", "", text));
  if (title || text.length > 30) button.title = title || text;
  button.addEventListener("click", (event) => {
    if (event.detail > 0) view.frame.focus({ preventScroll: true }); // otherwise Enter would press the button again
    act();
  });
  return button;
}

function draw(view, scroll = false) {
  const focused = view.root.activeElement?.dataset?.focus;
  const input = view.root.activeElement?.tagName === "INPUT" ? view.root.activeElement : null;
  const card = view.cards.get(view.current), { grid } = view.data;
  const parts = [card || grid ? drawControls(view, card, input) : null, grid ? drawGrid(view) : drawSingle(view, card)];
  view.frame.replaceChildren(...parts.filter(Boolean), drawStatus(view));
  view.frame.dataset.current = view.current ?? "";
  view.frame.dataset.pending = view.pending.length;
  if (input) input.focus();
  else if (focused) view.frame.querySelector(`[data-focus="${focused}"]`)?.focus();
  if (grid) measureGrid(view, scroll);
}

function drawSingle(view, card) {
  if (!card) {
    const empty = make("div", "empty");
    empty.append(make("p", "", view.pending.length || !view.data.empty_text ? "Loading…" : view.data.empty_text));
    if (view.data.empty_text) empty.append(makeButton(view, "Reload", "+", () => queue(view, "more", {})));
    return empty;
  }
  const single = make("div", "single"), figure = make("figure"), side = make("aside");
  single.classList.toggle("many-classes", view.data.classes.length > 20);
  figure.append(card.img, make("figcaption", "", card.name));
  side.append(drawPrediction(view, card), drawReasons(card), drawHistory(card), drawSimilar(card));
  single.append(figure, side);
  return single;
}

function drawPrediction(view, card) {
  const box = make("div", "prediction"), decision = decisionOf(view, card.sample_id);
  box.setAttribute("aria-live", "polite");
  if (decision) {
    box.append(make("p", "small", `Decided by ${decision.by}`), make("p", "big", decision.label ?? "Rejected"));
  } else {
    box.append(make("p", "small", card.heading || (SOURCES[card.source] ?? "No prediction yet")));
    if (card.label !== null) box.append(make("p", "big", card.label));
    if (card.label !== null && card.probability !== null) box.append(drawProbability(card.probability));
  }
  if (card.given != null) box.append(make("p", "small", `Current label: ${card.given}`));
  if (view.skipped.has(card.sample_id) && !decision) box.append(make("p", "small", "Skipped"));
  return box;
}

function drawProbability(probability) {
  const row = make("div", "row"), bar = make("div", "probability"), fill = make("div");
  fill.style.width = `${Math.round(100 * probability)}%`;
  bar.append(fill);
  row.append(bar, make("span", "", `${Math.round(100 * probability)}%`));
  return row;
}

function drawReasons(card) {
  const list = make("ul", "reasons");
  for (const [score, sentence] of card.reasons) {
    const item = make("li"), level = Math.min(4, Math.max(1, Math.round(4 * score)));
    const dots = make("span", "dots", "●".repeat(level) + "○".repeat(4 - level));
    dots.setAttribute("aria-hidden", "true");
    item.append(dots, make("span", "", sentence));
    list.append(item);
  }
  return list;
}

// The probabilities of teacher and student over the run, and a sentence.
function drawHistory(card) {
  const box = make("div", "history");
  if (!card.history) return box;
  const W = 260, H = 46, { points, text } = card.history, last = points.length - 1;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `-4 -4 ${W + 8} ${H + 8}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", text);
  const x = (n) => (last ? (W * n) / last : W / 2), y = (p) => H * (1 - p);
  const add = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    svg.append(node);
  };
  add("path", { d: `M0 ${H}H${W}`, class: "axis" });
  for (const [network, index] of [["student", 1], ["teacher", 0]]) {
    const known = points.map((point, n) => [n, point[index]]).filter(([, p]) => p !== null);
    add("polyline", { points: known.map(([n, p]) => `${x(n)},${y(p)}`).join(" "), class: network });
  }
  const many = points.length > MANY_TRAIL_POINTS;
  points.forEach(([teacher, , isFinalClass], n) => {
    if (teacher === null || (many && isFinalClass)) return;
    add("circle", { cx: x(n), cy: y(teacher), r: many ? 2 : 3, class: isFinalClass ? "same" : "other" });
  });
  box.append(svg, make("p", "small", text));
  return box;
}

function drawSimilar(card) {
  const box = make("div", "similar");
  if (!card.similar.length) return box;
  box.append(make("p", "small", "Most similar labelled images"));
  const shelf = make("div", "shelf");
  for (const { src, label } of card.similar) {
    const figure = make("figure");
    figure.append(makeImage(src, ""), make("figcaption", "", label));
    shelf.append(figure);
  }
  box.append(shelf);
  return box;
}

function drawGrid(view) {
  const tiles = make("div", "tiles");
  for (const id of view.order) {
    const card = view.cards.get(id);
    if (card) tiles.append(drawTile(view, id, card));
  }
  return tiles;
}

function drawTile(view, id, card) {
  const tile = make("button", "tile"), decision = decisionOf(view, id), line = make("span", "line");
  tile.type = "button";
  tile.dataset.focus = id;
  tile.setAttribute("aria-pressed", String(view.selected.has(id)));
  tile.classList.toggle("current", id === view.current);
  tile.classList.toggle("decided", Boolean(decision));
  tile.classList.toggle("similar", card.source === "neighbours" && !decision);
  const proposed = card.label === null ? "No prediction" : card.source === "neighbours" ? `Similar: ${card.label}` : card.label;
  const text = decision ? `✓ ${decision.label ?? "Rejected"}` : proposed;
  const share = decision || card.probability === null ? "" : `${Math.round(100 * card.probability)}%`;
  line.append(make("span", "name", text), make("span", "share", share));
  tile.append(card.img, line);
  if (card.reasons.length) tile.title = card.reasons[0][1];
  tile.addEventListener("click", (event) => toggle(view, id, event.shiftKey));
  return tile;
}

function measureGrid(view, scroll) {
  const tiles = [...view.frame.querySelectorAll(".tile")];
  view.columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  if (scroll) view.frame.querySelector(".tile.current")?.scrollIntoView({ block: "nearest" });
}

function drawControls(view, card, input) {
  const box = make("div", "controls"), actions = make("div", "actions"), classes = make("div", "classes");
  const { data } = view, open = openIds(view), selected = view.selected.size;
  const add = (...button) => actions.append(makeButton(view, ...button));
  if (data.grid) {
    const chosen = (selected ? [...view.selected] : [view.current]).filter((id) => view.cards.get(id)?.label != null);
    if (chosen.length) add(selected ? `Accept ${chosen.length} selected` : "Accept", "⏎", () => accept(view, chosen), "main");
    const guessed = open.filter((id) => view.cards.get(id).label != null);
    if (guessed.length) add(`Accept all ${guessed.length}`, "⇧⏎", () => accept(view, guessed));
  } else if (card?.label != null) add(`Accept ${card.label}`, "⏎", () => accept(view, [view.current]), "main");
  if (!data.grid && card?.given != null && card.given !== card.label) add(`Keep ${card.given}`, "K", () => keepGiven(view));
  add("Reject", "X", () => decide(view, null), "", "No class applies");
  add("Skip", "S", () => skip(view));
  add("Undo", "U", () => undo(view));
  if (card && data.has_history) add("Evolution", "H", () => openHistory(view), "quiet");
  if (data.has_similar) add("Similar images", "L", () => showSimilar(view), "quiet", "Show images similar to the one labelled last");
  if (data.grid) add("More images", "+", () => queue(view, "more", {}), open.length ? "quiet" : "main");
  const keyOf = Object.fromEntries(Object.entries(data.keys).map(([key, name]) => [name, key.toUpperCase()]));
  for (const name of data.classes) {
    const button = makeButton(view, name, keyOf[name], () => decide(view, name));
    button.style.setProperty("--class-color", data.colors[name]);
    classes.append(button);
  }
  actions.append(drawFinder(view, input));
  box.append(actions, classes);
  return box;
}

// A field in which a class is typed; a name that is none can be created. `focused` is the field of the last drawing, if somebody types in it.
function drawFinder(view, focused) {
  const box = make("div", "finder"), list = make("div", "classes"), input = focused ?? make("input");
  const matches = () => {
    const typed = input.value.trim().toLowerCase();
    const names = typed ? view.data.classes.filter((name) => name.toLowerCase().includes(typed)) : [];
    return names.sort((a, b) => b.toLowerCase().startsWith(typed) - a.toLowerCase().startsWith(typed)).slice(0, 8);
  };
  const created = () => {
    const name = input.value.trim();
    return name && !view.data.classes.includes(name) ? name : null;
  };
  const choose = (name, more = {}) => {
    input.value = "";
    input.blur();
    view.frame.focus({ preventScroll: true });
    decide(view, name, more);
  };
  const create = () => choose(created(), { create: true });
  input.placeholder = "/  Type a class";
  input.setAttribute("aria-label", "Type a class; Enter takes the first match, Shift and Enter creates the class");
  input.oninput = () => {
    const found = matches().map((name, n) => makeButton(view, name, n ? "" : "⏎", () => choose(name)));
    const name = created();
    if (name) found.push(makeButton(view, `Create ${name}`, found.length ? "⇧⏎" : "⏎", create));
    list.replaceChildren(...found);
  };
  input.onkeydown = (event) => {
    if (event.key === "Enter" && created() && (event.shiftKey || !matches().length)) create();
    else if (event.key === "Enter" && matches().length) choose(matches()[0]);
    else if (event.key === "Escape") view.frame.focus({ preventScroll: true });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  box.append(input, list);
  input.oninput();
  return box;
}

function drawStatus(view) {
  const line = make("p", "status"), { verdicts, correct, predicted, similar, similar_correct, per_minute: pace, labelled } = view.data.stats;
  const pending = view.pending.filter(({ action }) => action === "label" || action === "reject").length;
  const parts = [`${verdicts + pending} labelled this session`];
  if (predicted) parts.push(`${Math.round((100 * correct) / predicted)}% of ${predicted} predictions accepted`);
  if (similar) parts.push(`${Math.round((100 * similar_correct) / similar)}% of ${similar} labels of similar images accepted`);
  if (pace) parts.push(`${pace < 10 ? pace.toFixed(1) : Math.round(pace)} per minute`);
  parts.push(`${labelled.toLocaleString("en")} labelled in total`);
  line.append(make("span", "", parts.join(" · ")));
  if (view.notice) line.append(make("span", "notice", view.notice));
  line.setAttribute("role", "status");
  return line;
}
