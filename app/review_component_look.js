// How the board looks: see review_component.js, which it is put before. All text of others goes in by textContent.

function make(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

function drawn(src, alt) {
  if (src === null) return make("p", "broken", "This file cannot be read.");
  const img = make("img");
  img.alt = alt;
  img.decoding = "sync";
  img.src = src;
  img.decode?.().catch(() => {});
  return img;
}

function button(board, text, key, act, name = "") {
  const made = make("button", name);
  made.type = "button";
  if (key) {
    made.append(make("kbd", "", key));
    made.setAttribute("aria-keyshortcuts", key === "⏎" ? "Enter" : key);
  }
  made.append(make("span", "", text));
  if (text.length > 30) made.title = text;
  made.addEventListener("click", (event) => {
    if (event.detail > 0) board.frame.focus({ preventScroll: true }); // or Enter would press it again
    act();
  });
  return made;
}

function draw(board, moved = false) {
  const focused = board.root.activeElement?.dataset?.focus;
  const typing = board.root.activeElement?.tagName === "INPUT" ? board.root.activeElement : null;
  const card = board.cards.get(board.at);
  const parts = [card || board.data.grid ? keys(board, card, typing) : null, board.data.grid ? grid(board) : one(board, card)];
  board.frame.replaceChildren(...parts.filter(Boolean), foot(board));
  board.frame.dataset.at = board.at ?? "";
  board.frame.dataset.unheard = board.pending.length;
  if (typing) typing.focus();
  else if (focused) board.frame.querySelector(`[data-focus="${focused}"]`)?.focus();
  if (board.data.grid) measure(board, moved);
}

function one(board, card) {
  if (!card) {
    const idle = make("div", "empty");
    idle.append(make("p", "", board.pending.length || !board.data.empty ? "One moment…" : board.data.empty));
    if (board.data.empty) idle.append(button(board, "Look again", "+", () => press(board, "more", {})));
    return idle;
  }
  const made = make("div", "one"), picture = make("figure"), side = make("aside");
  made.classList.toggle("crowded", board.data.classes.length > 20);
  picture.append(card.img, make("figcaption", "", card.name));
  side.append(guess(board, card), why(card), trail(card), near(card));
  made.append(picture, side);
  return made;
}

function guess(board, card) {
  const made = make("div", "guess"), answer = answerOf(board, card.id);
  made.setAttribute("aria-live", "polite");
  if (answer) {
    made.append(make("p", "small", `Answered by ${answer.by}`), make("p", "big", answer.label ?? "No class applies"));
  } else {
    made.append(make("p", "small", card.label === null ? "No guess yet" : "The guess"));
    if (card.label !== null) made.append(make("p", "big", card.label), bar(card.sure));
  }
  if (card.given != null) made.append(make("p", "small", `Its label: ${card.given}`));
  if (board.gone.has(card.id) && !answer) made.append(make("p", "small", "Skipped"));
  return made;
}

function bar(sure) {
  const made = make("div", "sure"), full = make("div");
  if (sure === null) return made;
  full.style.width = `${Math.round(100 * sure)}%`;
  made.append(full);
  const row = make("div", "row");
  row.append(made, make("span", "", `${Math.round(100 * sure)} %`));
  return row;
}

function why(card) {
  const made = make("ul", "why");
  for (const [score, text] of card.why) {
    const line = make("li"), full = Math.min(4, Math.max(1, Math.round(4 * score)));
    const dots = make("span", "dots", "●".repeat(full) + "○".repeat(4 - full));
    dots.setAttribute("aria-hidden", "true");
    line.append(dots, make("span", "", text));
    made.append(line);
  }
  return made;
}

function trail(card) {
  const made = make("div", "trail");
  if (!card.trail) return made;
  const W = 260, H = 46, points = card.trail.points, last = points.length - 1;
  const svg = document.createElementNS(LINE, "svg");
  svg.setAttribute("viewBox", `-4 -4 ${W + 8} ${H + 8}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", card.trail.words);
  const x = (n) => (last ? (W * n) / last : W / 2), y = (p) => H * (1 - p);
  const add = (tag, attributes) => {
    const node = document.createElementNS(LINE, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    svg.append(node);
  };
  add("path", { d: `M0 ${H}H${W}`, class: "axis" });
  for (const [who, place] of [["student", 1], ["teacher", 0]]) {
    const known = points.map((p, n) => [n, p[place]]).filter(([, p]) => p !== null);
    add("polyline", { points: known.map(([n, p]) => `${x(n)},${y(p)}`).join(" "), class: who });
  }
  const many = points.length > 40; // then only looks at which another class was named have a mark of their own
  points.forEach((p, n) => p[0] !== null && !(many && p[2]) && add("circle", { cx: x(n), cy: y(p[0]), r: many ? 2 : 3, class: p[2] ? "same" : "other" }));
  made.append(svg, make("p", "small", card.trail.words));
  return made;
}

function near(card) {
  const made = make("div", "near");
  if (!card.near.length) return made;
  made.append(make("p", "small", "Labelled images most like it"));
  const row = make("div", "shelf");
  for (const other of card.near) {
    const figure = make("figure");
    figure.append(drawn(other.src, ""), make("figcaption", "", other.label));
    row.append(figure);
  }
  made.append(row);
  return made;
}

function grid(board) {
  const made = make("div", "tiles");
  for (const id of board.order) {
    const card = board.cards.get(id);
    if (!card) continue;
    const tile = make("button", "tile"), answer = answerOf(board, id);
    tile.type = "button";
    tile.dataset.focus = id;
    tile.setAttribute("aria-pressed", String(board.chosen.has(id)));
    tile.classList.toggle("at", id === board.at);
    tile.classList.toggle("answered", Boolean(answer));
    const text = answer ? `✓ ${answer.label ?? "No class"}` : card.label === null ? "No guess" : card.label;
    const line = make("span", "line");
    line.append(make("span", "name", text), make("span", "share", answer || card.sure === null ? "" : `${Math.round(100 * card.sure)} %`));
    tile.append(card.img, line);
    if (card.why.length) tile.title = card.why[0][1];
    tile.addEventListener("click", () => choose(board, id));
    made.append(tile);
  }
  return made;
}

function measure(board, moved) {
  const tiles = [...board.frame.querySelectorAll(".tile")];
  board.columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  if (moved) board.frame.querySelector(".tile.at")?.scrollIntoView({ block: "nearest" });
}

function keys(board, card, typing) {
  const made = make("div", "keys"), open = waiting(board), many = board.chosen.size;
  const act = make("div", "acts"), classes = make("div", "classes");
  if (board.data.grid) {
    act.append(button(board, many ? `Accept the ${many} chosen` : "Accept", "⏎", () => accept(board, many ? [...board.chosen] : [board.at]), "main"));
    act.append(button(board, `Accept all ${open.length}`, "⇧⏎", () => accept(board, open)));
  } else if (card?.label != null) act.append(button(board, `Accept ${card.label}`, "⏎", () => accept(board, [board.at]), "main"));
  if (!board.data.grid && card?.given != null && card.given !== card.label) act.append(button(board, `Keep ${card.given}`, "K", () => keep(board)));
  act.append(button(board, "No class", "X", () => decide(board, null)), button(board, "Skip", "S", () => skip(board)));
  act.append(button(board, "Undo", "U", () => undo(board)));
  if (card && board.data.record) act.append(button(board, "Evolution", "H", () => record(board), "quiet"));
  if (board.data.like) act.append(button(board, "More like the last", "L", () => alike(board), "quiet"));
  if (board.data.grid) act.append(button(board, "More images", "+", () => press(board, "more", {}), open.length ? "quiet" : "main"));
  const keyOf = Object.fromEntries(Object.entries(board.data.keys).map(([key, name]) => [name, key.toUpperCase()]));
  for (const name of board.data.classes) classes.append(button(board, name, keyOf[name], () => decide(board, name)));
  if (board.data.classes.length > 10) act.append(finder(board, typing));
  made.append(act, classes);
  return made;
}

function finder(board, typing) {
  const made = make("div", "finder"), found = make("div", "classes");
  const input = typing ?? make("input");
  const matches = () => {
    const typed = input.value.trim().toLowerCase();
    const good = typed ? board.data.classes.filter((name) => name.toLowerCase().includes(typed)) : [];
    return good.sort((a, b) => b.toLowerCase().startsWith(typed) - a.toLowerCase().startsWith(typed)).slice(0, 8);
  };
  const choice = (name) => {
    input.value = "";
    input.blur();
    board.frame.focus({ preventScroll: true });
    decide(board, name);
  };
  input.placeholder = "/  type a class";
  input.setAttribute("aria-label", "Type a class, Enter takes the first");
  input.oninput = () => found.replaceChildren(...matches().map((name, n) => button(board, name, n ? "" : "⏎", () => choice(name))));
  input.onkeydown = (event) => {
    if (event.key === "Enter" && matches().length) choice(matches()[0]);
    else if (event.key === "Escape") board.frame.focus({ preventScroll: true });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  made.append(input, found);
  input.oninput();
  return made;
}

function foot(board) {
  const made = make("p", "foot"), { given, agreed, guessed, a_minute: pace, labelled } = board.data.tally;
  const ahead = board.pending.filter((one) => one.deed === "label" || one.deed === "reject").length;
  const parts = [`${given + ahead} given in this sitting`];
  if (guessed) parts.push(`the guess was right in ${Math.round((100 * agreed) / guessed)} % of ${guessed}`);
  if (pace) parts.push(`${pace < 10 ? pace.toFixed(1) : Math.round(pace)} a minute`);
  parts.push(`${labelled.toLocaleString()} labelled in all`);
  made.append(make("span", "", parts.join(" · ")));
  if (board.notice) made.append(make("span", "notice", board.notice));
  made.setAttribute("role", "status");
  return made;
}
