// The board on which a reviewer decides. It holds the next images, so that a key shows the next one at once; what was
// pressed is told to the server until the server says that it has heard it. All text of others goes in by textContent.

const AWAY = 180_000, BEAT = 25_000; // milliseconds: nobody is there any more; between two signs that somebody is
const AGAIN = 3_000; // milliseconds: what was not heard by then is told again
const SEEN = 60; // milliseconds: nobody has seen the next image before; a key that bounces decides once
const boards = new WeakMap();
const LINE = "http://www.w3.org/2000/svg";

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let board = boards.get(parentElement);
  if (!board) {
    board = opened(parentElement);
    boards.set(parentElement, board);
  }
  board.say = (said) => setStateValue("said", said);
  take(board, data);
}

function opened(root) {
  const frame = make("div", "board");
  frame.tabIndex = -1;
  root.append(frame);
  const board = { root, frame, batch: null, cards: new Map(), order: [], at: null, mine: new Map(), gone: new Set(),
    pending: [], chosen: new Set(), last: [], data: null, notice: "", typed: "", acted: Date.now(), given: 0 };
  const stop = new AbortController();
  const here = (act) => (event) => (root.isConnected ? act(event) : stop.abort());
  document.addEventListener("keydown", here((event) => onKey(board, event)), { capture: true, signal: stop.signal });
  document.addEventListener("pointermove", here(() => (board.acted = Date.now())), { signal: stop.signal });
  window.addEventListener("beforeunload", here((event) => board.pending.length && event.preventDefault()), { signal: stop.signal });
  const beat = setInterval(() => {
    if (!root.isConnected) return clearInterval(beat);
    if (document.visibilityState === "visible" && Date.now() - board.acted < AWAY) press(board, "here", {});
  }, BEAT);
  return board;
}

// Takes in what the server says. What was pressed meanwhile and not heard yet stays as the reviewer sees it.
function take(board, data) {
  if (data.batch !== board.batch) {
    globalThis.gradebookBoard = board;
    const on = document.activeElement; // a choice that was made would take the keys
    if (on === document.body || on?.matches("a, [role=combobox], [type=radio], [role=radio]")) board.frame.focus({ preventScroll: true });
    const unheard = new Set(board.pending.map((one) => one.press)); // what they answer is not shown again meanwhile
    const mine = new Map([...board.mine].filter(([, one]) => unheard.has(one.press)));
    Object.assign(board, { batch: data.batch, order: [], at: null, mine, gone: new Set(), last: [], chosen: new Set() });
  }
  const heard = new Set(data.heard);
  board.pending = board.pending.filter((one) => !heard.has(one.press));
  board.data = data;
  for (const card of data.cards) {
    if (card.src !== undefined) board.cards.set(card.id, { ...card, img: drawn(card.src, card.name) });
  }
  for (const { id, by, press } of data.refused) {
    if (board.mine.get(id)?.press === press) board.mine.delete(id);
    board.notice = by;
  }
  for (const id of data.order) if (!board.order.includes(id)) board.order.push(id);
  const open = new Set([...data.order, ...Object.keys(data.answers), board.at]);
  if (!data.grid) board.order = board.order.filter((id) => open.has(id) || board.mine.has(id) || board.gone.has(id));
  for (const [press, id] of Object.entries(data.undone)) {
    if (!board.last.includes(press)) continue;
    board.last = board.last.filter((one) => one !== press);
    board.mine.delete(id);
    if (board.cards.has(id)) board.at = id;
  }
  if (board.at === null || !board.cards.has(board.at)) board.at = following(board, -1);
  draw(board);
  clearTimeout(board.again);
  if (board.pending.length) board.again = setTimeout(() => tell(board), AGAIN);
  if (board.order.some((id) => !board.cards.has(id)) || (data.order.length && !board.cards.size)) tell(board);
}

function answerOf(board, id) {
  const mine = board.mine.get(id);
  const waiting = mine && board.pending.some((one) => one.press === mine.press);
  if (mine === undefined || (!waiting && id in board.data.answers)) return board.data.answers[id] ?? null;
  return mine.undone ? null : mine;
}

function following(board, from) {
  const free = (id) => board.cards.has(id) && !answerOf(board, id) && !board.gone.has(id);
  const later = board.order.slice(from + 1).find(free);
  return later ?? board.order.slice(0, Math.max(from, 0)).find(free) ?? null;
}

// ---- what a reviewer does

function press(board, deed, more) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
  board.pending.push({ press: id, deed, ...more });
  clearTimeout(board.soon);
  board.soon = setTimeout(() => tell(board), 0); // several at once are one message
  return id;
}

function tell(board) {
  board.say({ batch: board.batch, presses: board.pending.slice(), have: board.order.filter((id) => board.cards.has(id)) });
}

function decide(board, label) {
  const grid = board.data.grid && board.chosen.size > 0;
  const ids = grid ? board.order.filter((id) => board.chosen.has(id)) : [board.at];
  give(board, ids.filter(Boolean).map((id) => [id, label]));
}

function accept(board, ids) {
  give(board, ids.filter((id) => id && board.cards.get(id)?.label != null).map((id) => [id, board.cards.get(id).label]));
}

function give(board, pairs) {
  if (!pairs.length || Date.now() - board.given < SEEN) return;
  board.given = Date.now();
  const done = [];
  for (const [id, label] of pairs) {
    const over = answerOf(board, id)?.event ?? board.cards.get(id).over ?? null;
    const said = press(board, label === null ? "reject" : "label", { id, label, over });
    board.mine.set(id, { label, press: said, event: said, by: "you", mine: true });
    done.push(id);
  }
  board.last.push(...done.map((id) => ({ id, event: board.mine.get(id).event, many: done.length })));
  board.notice = "";
  board.chosen.clear();
  board.at = following(board, board.order.indexOf(done[done.length - 1])) ?? (board.data.grid ? board.at : null);
  draw(board, true);
}

function undo(board) {
  const steps = board.last.filter((one) => one.event);
  const last = steps[steps.length - 1];
  if (!last) {
    board.last.push(press(board, "undo", { over: null }));
    return;
  }
  for (const one of steps.slice(-last.many)) {
    const said = press(board, "undo", { over: one.event, id: one.id });
    board.mine.set(one.id, { undone: true, press: said });
    board.last.splice(board.last.indexOf(one), 1);
    board.at = one.id;
  }
  draw(board, true);
}

function skip(board) {
  if (board.at === null) return;
  board.gone.add(board.at);
  press(board, "skip", { id: board.at });
  board.at = following(board, board.order.indexOf(board.at));
  draw(board, true);
}

function move(board, by) {
  const shown = board.order.filter((id) => board.cards.has(id));
  const place = board.at === null ? shown.length : shown.indexOf(board.at);
  const next = shown[Math.min(Math.max(place + by, 0), shown.length - 1)];
  if (next === undefined) return;
  board.at = next;
  draw(board, true);
}

function onKey(board, event) {
  if (globalThis.gradebookBoard !== board) return; // one that the page is about to take away
  board.acted = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && !event.key.startsWith("Arrow")) return;
  const from = event.composedPath()[0];
  const typed = /^(INPUT|TEXTAREA|SELECT)$/.test(from.tagName) && !/^(radio|checkbox)$/.test(from.type);
  if (from.isContentEditable || typed) return;
  const native = from.closest?.("button, a, input, [role=button], [role=option], [role=radio], [role=tab], [role=slider], [role=combobox]");
  const act = actOf(board, event, native);
  if (!act) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  act();
}

function actOf(board, event, native) {
  const { key } = event, columns = Math.max(board.columns ?? 1, 1);
  const elsewhere = native && !board.frame.contains(native) && !native.matches("a, button");
  if (key === "Enter" && !(native && !native.classList?.contains("tile"))) {
    if (event.shiftKey && board.data.grid) return () => accept(board, waiting(board));
    return () => accept(board, board.data.grid && board.chosen.size ? [...board.chosen] : [board.at]);
  }
  if (key === " " && board.data.grid && !elsewhere && !(native && !native.classList.contains("tile"))) return () => choose(board, board.at);
  if (!elsewhere && key === "ArrowRight") return () => move(board, 1);
  if (!elsewhere && key === "ArrowLeft") return () => move(board, -1);
  if (!elsewhere && board.data.grid && key === "ArrowDown") return () => move(board, columns);
  if (!elsewhere && board.data.grid && key === "ArrowUp") return () => move(board, -columns);
  if (key === "/") return () => board.frame.querySelector("input")?.focus();
  if (key.length !== 1) return null;
  if (board.data.keys[key.toLowerCase()] !== undefined) return () => decide(board, board.data.keys[key.toLowerCase()]);
  return { u: () => undo(board), s: () => skip(board), x: () => decide(board, null), k: () => keep(board),
    h: () => record(board), l: () => alike(board), "+": () => press(board, "more", {}) }[key.toLowerCase()] ?? null;
}

const waiting = (board) => board.order.filter((id) => board.cards.has(id) && !answerOf(board, id) && !board.gone.has(id));
const keep = (board) => board.cards.get(board.at)?.given != null && give(board, [[board.at, board.cards.get(board.at).given]]);
const record = (board) => board.at && board.data.record && press(board, "record", { id: board.at });

function alike(board) {
  const id = board.at && answerOf(board, board.at) ? board.at : board.last[board.last.length - 1]?.id;
  if (id) press(board, "alike", { id });
}

function choose(board, id) {
  if (!board.chosen.delete(id)) board.chosen.add(id);
  board.at = id;
  draw(board);
}
