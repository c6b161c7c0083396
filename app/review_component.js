// The review component. It holds the next images, so that a key shows the next one at once, and sends each action to the
// server until the server acknowledges it. User-supplied text is inserted with textContent only, so it cannot inject
// HTML.

const IDLE_MS = 180_000; // without a key or a pointer move, after which the reviewer counts as away
const HEARTBEAT_MS = 25_000;
const RESEND_MS = 3_000; // after which an action without acknowledgement is sent again
const MIN_VIEW_MS = 60; // shorter than anybody can see an image: a bouncing key decides once
const MANY_TRAIL_POINTS = 40; // of a history, beyond which only points with another class are marked
const views = new WeakMap();
const SVG = "http://www.w3.org/2000/svg";

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let view = views.get(parentElement);
  if (!view) {
    view = createView(parentElement, data.project);
    views.set(parentElement, view);
  }
  view.setMessage = (message) => setStateValue("message", message);
  receive(view, data);
}

function createView(root, project) {
  const frame = make("div", "review");
  frame.tabIndex = -1;
  root.append(frame);
  const view = { id: newId(), root, frame, project, batch: null, cards: new Map(), order: [], current: null, own: new Map(), skipped: new Set(),
    pending: [], selected: new Set(), undoable: [], visited: [], data: null, notice: "", lastActive: Date.now(), lastVerdict: 0 };
  OWNERS.set(view.id, root);
  adoptLeft(view);
  const stop = new AbortController();
  const ifShown = (act) => (event) => (root.isConnected ? act(event) : stop.abort());
  document.addEventListener("keydown", ifShown((event) => onKey(view, event)), { capture: true, signal: stop.signal });
  document.addEventListener("pointermove", ifShown(() => (view.lastActive = Date.now())), { signal: stop.signal });
  const heartbeat = setInterval(() => {
    if (!root.isConnected) return clearInterval(heartbeat);
    if (document.visibilityState === "visible" && Date.now() - view.lastActive < IDLE_MS) queue(view, "heartbeat", {});
  }, HEARTBEAT_MS);
  return view;
}

// Takes over the actions of a page that was left before the server had acknowledged them.
function adoptLeft(view) {
  for (const action of leftActions(view.project)) {
    storeAction(view.project, view.id, action);
    view.pending.push(action);
    if (action.action !== "undo") view.own.set(action.sample_id, { label: action.label, action_id: action.action_id, event_id: action.action_id, by: "you" });
  }
  if (view.pending.length) view.sendTimer = setTimeout(() => send(view), 0);
}

// Takes the server's state. Actions that it has not acknowledged stay as the reviewer sees them.
function receive(view, data) {
  if (data.batch !== view.batch) startBatch(view, data.batch);
  const acknowledged = new Set(data.acknowledged);
  dropActions(view.project, acknowledged);
  view.pending = view.pending.filter((action) => !acknowledged.has(action.action_id));
  view.data = data;
  for (const card of data.cards) {
    if (card.src !== undefined) view.cards.set(card.sample_id, { ...card, img: makeImage(card.src, card.name, card.problem) });
  }
  for (const { sample_id, action_id, text } of data.conflicts) {
    if (view.own.get(sample_id)?.action_id === action_id) view.own.delete(sample_id);
    view.notice = text;
  }
  for (const id of data.order) if (!view.order.includes(id)) view.order.push(id);
  const shown = new Set([...data.order, ...Object.keys(data.decisions), view.current]);
  if (!data.grid) view.order = view.order.filter((id) => shown.has(id) || view.own.has(id) || view.skipped.has(id));
  for (const [action_id, id] of Object.entries(data.undone)) {
    if (!view.undoable.includes(action_id)) continue;
    view.undoable = view.undoable.filter((entry) => entry !== action_id);
    view.own.delete(id);
    if (view.cards.has(id)) view.current = id;
  }
  if (view.current === null || !view.cards.has(view.current)) view.current = nextOpen(view, -1);
  draw(view);
  clearTimeout(view.resendTimer);
  if (view.pending.length) view.resendTimer = setTimeout(() => send(view), RESEND_MS);
  if (view.order.some((id) => !view.cards.has(id)) || (data.order.length && !view.cards.size)) send(view);
}

function startBatch(view, batch) {
  globalThis.gradebookReview = view;
  const focused = document.activeElement; // a control that has just been used would take the keys
  if (focused === document.body || focused?.matches("a, [role=combobox], [type=radio], [role=radio]")) view.frame.focus({ preventScroll: true });
  const pending = new Set(view.pending.map((action) => action.action_id)); // their images are not shown again meanwhile
  const own = new Map([...view.own].filter(([, decision]) => pending.has(decision.action_id)));
  Object.assign(view, { batch, order: [], current: null, own, skipped: new Set(), undoable: [], visited: [], selected: new Set() });
}

function decisionOf(view, id) {
  const own = view.own.get(id);
  const isPending = own && view.pending.some((action) => action.action_id === own.action_id);
  if (own === undefined || (!isPending && id in view.data.decisions)) return view.data.decisions[id] ?? null;
  return own.undone ? null : own;
}

function nextOpen(view, from) {
  const isOpen = (id) => view.cards.has(id) && !decisionOf(view, id) && !view.skipped.has(id);
  const later = view.order.slice(from + 1).find(isOpen);
  return later ?? view.order.slice(0, Math.max(from, 0)).find(isOpen) ?? null;
}

// ---- what a reviewer can do

function queue(view, action, more) {
  const entry = { action_id: newId(), action, batch: view.batch, ...more };
  view.pending.push(entry);
  storeAction(view.project, view.id, entry);
  clearTimeout(view.sendTimer);
  view.sendTimer = setTimeout(() => send(view), 0); // several actions at once are one message
  return entry.action_id;
}

function send(view) {
  view.setMessage({ batch: view.batch, actions: view.pending.slice(), cached: view.order.filter((id) => view.cards.has(id)) });
}

function decide(view, label, more = {}) {
  const selected = view.data.grid && view.selected.size > 0;
  const ids = selected ? view.order.filter((id) => view.selected.has(id)) : [view.current];
  giveVerdicts(view, ids.filter(Boolean).map((id) => [id, label]), more);
}

function accept(view, ids) {
  giveVerdicts(view, ids.filter((id) => id && view.cards.get(id)?.label != null).map((id) => [id, view.cards.get(id).label]));
}

function giveVerdicts(view, pairs, more = {}) {
  if (!pairs.length || Date.now() - view.lastVerdict < MIN_VIEW_MS) return;
  view.lastVerdict = Date.now();
  for (const [id, label] of pairs) {
    const expected = decisionOf(view, id)?.event_id ?? view.cards.get(id).expected ?? null;
    const independent = view.cards.get(id).independent ?? false;
    const action_id = queue(view, label === null ? "reject" : "label", { sample_id: id, label, expected, independent, ...more });
    visit(view, id);
    view.own.set(id, { label, action_id, event_id: action_id, by: "you" });
  }
  view.undoable.push(...pairs.map(([id]) => ({ id, event_id: view.own.get(id).event_id, together: pairs.length })));
  view.notice = "";
  view.selected.clear();
  view.current = nextOpen(view, view.order.indexOf(pairs[pairs.length - 1][0])) ?? (view.data.grid ? view.current : null);
  draw(view, true);
}

function undo(view) {
  const own = view.undoable.filter((entry) => entry.event_id || entry.skip);
  const last = own[own.length - 1];
  if (!last) {
    view.undoable.push(queue(view, "undo", { expected: null })); // of an earlier session: the server finds which one
    return;
  }
  if (last.skip) return undoSkip(view, last);
  for (const entry of own.slice(-last.together)) {
    const action_id = queue(view, "undo", { expected: entry.event_id, sample_id: entry.id });
    view.own.set(entry.id, { undone: true, action_id });
    view.undoable.splice(view.undoable.indexOf(entry), 1);
    view.current = entry.id;
  }
  draw(view, true);
}

function skip(view) {
  if (view.current === null) return;
  view.skipped.add(view.current);
  view.undoable.push({ id: view.current, skip: true });
  visit(view, view.current);
  queue(view, "skip", { sample_id: view.current });
  view.current = nextOpen(view, view.order.indexOf(view.current));
  draw(view, true);
}

function undoSkip(view, entry) {
  view.undoable.splice(view.undoable.indexOf(entry), 1);
  view.skipped.delete(entry.id);
  queue(view, "unskip", { sample_id: entry.id });
  view.current = entry.id;
  draw(view, true);
}

// Notes that an image was decided or skipped: the left arrow goes through these, the newest first.
function visit(view, id) {
  view.visited = [...view.visited.filter((other) => other !== id), id];
}

// Goes to the image decided or skipped before the current one, or after it; after the newest, to the next open one.
function moveInTrail(view, by) {
  const trail = view.visited.filter((id) => view.cards.has(id)), at = trail.indexOf(view.current);
  if (by > 0 && at < 0) {
    if (view.current) visit(view, view.current);
    return move(view, 1);
  }
  const next = by < 0 ? trail[(at < 0 ? trail.length : at) - 1] : trail[at + 1] ?? nextOpen(view, view.order.indexOf(trail[at]));
  if (!next) return;
  view.current = next;
  draw(view, true);
}

function move(view, by) {
  const shown = view.order.filter((id) => view.cards.has(id));
  const index = view.current === null ? shown.length : shown.indexOf(view.current);
  const next = shown[Math.min(Math.max(index + by, 0), shown.length - 1)];
  if (next === undefined) return;
  view.current = next;
  draw(view, true);
}

function keepGiven(view) {
  const card = view.cards.get(view.current);
  if (card?.given != null) giveVerdicts(view, [[view.current, card.given]]);
}

function openHistory(view) {
  if (view.current && view.data.has_history) queue(view, "history", { sample_id: view.current });
}

function showSimilar(view) {
  const id = view.current && decisionOf(view, view.current) ? view.current : view.undoable[view.undoable.length - 1]?.id;
  if (id) queue(view, "similar", { sample_id: id });
}

// Selects a tile or takes it out; with `range`, selects all tiles from the one selected last up to this one.
function toggle(view, id, range = false) {
  const [from, to] = [view.order.indexOf(view.anchor), view.order.indexOf(id)];
  if (range && from >= 0) for (const other of view.order.slice(Math.min(from, to), Math.max(from, to) + 1)) view.selected.add(other);
  else {
    view.anchor = id;
    if (!view.selected.delete(id)) view.selected.add(id);
  }
  view.current = id;
  draw(view);
}

function openIds(view) {
  return view.order.filter((id) => view.cards.has(id) && !decisionOf(view, id) && !view.skipped.has(id));
}

// ---- keys

function onKey(view, event) {
  if (globalThis.gradebookReview !== view) return; // the page is about to remove this one
  view.lastActive = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || (event.repeat && !event.key.startsWith("Arrow"))) return;
  const target = event.composedPath()[0];
  const isTextField = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !/^(radio|checkbox)$/.test(target.type);
  if (target.isContentEditable || isTextField) return;
  const control = target.closest?.("button, a, input, [role=button], [role=option], [role=radio], [role=tab], [role=slider], [role=combobox]");
  const act = actionOf(view, event, control);
  if (!act) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  act();
}

// Returns what a key does here; null leaves it to the browser. `control` is the control that has the focus, if any.
function actionOf(view, event, control) {
  const { key } = event, { grid } = view.data, columns = Math.max(view.columns ?? 1, 1);
  const isTile = control?.classList?.contains("tile");
  const outside = control && !view.frame.contains(control) && !control.matches("a, button");
  if (key === "Enter" && (!control || isTile)) {
    if (event.shiftKey && grid) return () => accept(view, openIds(view));
    return () => accept(view, grid && view.selected.size ? [...view.selected] : [view.current]);
  }
  if (key === " " && grid && !outside && (!control || isTile)) return () => toggle(view, view.current);
  if (!outside && key === "ArrowRight") return () => (grid ? move(view, 1) : moveInTrail(view, 1));
  if (!outside && key === "ArrowLeft") return () => (grid ? move(view, -1) : moveInTrail(view, -1));
  if (!outside && grid && key === "ArrowDown") return () => move(view, columns);
  if (!outside && grid && key === "ArrowUp") return () => move(view, -columns);
  if (key === "/") return () => view.frame.querySelector("input")?.focus();
  if (key.length !== 1) return null;
  const label = view.data.keys[key.toLowerCase()];
  if (label !== undefined) return () => decide(view, label);
  return { u: () => undo(view), s: () => skip(view), x: () => decide(view, null), k: () => keepGiven(view),
    h: () => openHistory(view), l: () => showSimilar(view), "+": () => queue(view, "more", {}) }[key.toLowerCase()] ?? null;
}
