// Verdicts that the server has not acknowledged, kept in the browser's storage so that they outlive their page. Each is an
// item of its own, so that two tabs never overwrite each other's.

const OTHER_TAB_MS = 10_000; // after which an action that another tab still holds counts as left behind
const SAVED = new Set(["label", "reject", "undo"]); // actions that write an event
const OWNERS = (globalThis.gradebookOwners ??= new Map()); // of this page: id -> the element of a component that sends its own
const STORED = (globalThis.gradebookStored ??= new Map()); // as the browser's storage, where that is denied

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
const storageKey = (project, id = "") => `gradebook-action:${project}:${id}`;

function storeAction(project, owner, action) {
  if (!SAVED.has(action.action)) return;
  const at = Date.now(), order = (globalThis.gradebookOrder = (globalThis.gradebookOrder ?? 0) + 1);
  const text = JSON.stringify({ action, owner, tab: tabId(), at, order });
  try {
    localStorage.setItem(storageKey(project, action.action_id), text);
  } catch {
    STORED.set(storageKey(project, action.action_id), text);
  }
}

function dropActions(project, ids) {
  for (const id of ids) {
    STORED.delete(storageKey(project, id));
    try {
      localStorage.removeItem(storageKey(project, id));
    } catch {} // denied: it was never there
  }
}

// Returns the actions whose page or window has gone, oldest first.
function leftActions(project) {
  const isLeft = ({ tab, owner, at }) => (tab === tabId() ? !OWNERS.get(owner)?.isConnected : Date.now() - at > OTHER_TAB_MS);
  return storedActions(project, isLeft);
}

// Sends this tab's actions while its page is being closed, when nothing else is sent any more.
function sendLate({ project, late_path, page }) {
  const actions = storedActions(project, ({ tab }) => tab === tabId());
  const body = new Blob([JSON.stringify({ page, actions })], { type: "application/json" });
  if (actions.length) navigator.sendBeacon(late_path, body);
}

function storedActions(project, isWanted) {
  const entries = [];
  for (const [key, text] of [...STORED, ...storedItems()]) {
    if (!key.startsWith(storageKey(project))) continue;
    try {
      const entry = JSON.parse(text);
      if (isWanted(entry)) entries.push(entry);
    } catch {
      dropActions(project, [key.slice(storageKey(project).length)]); // not ours
    }
  }
  return entries.sort((a, b) => a.at - b.at || a.order - b.order).map(({ action }) => action);
}

function storedItems() {
  try {
    return Object.entries(localStorage);
  } catch {
    return [];
  }
}

// An id that survives a reload, so that this tab's own actions are sent at once.
function tabId() {
  try {
    const id = sessionStorage.getItem("gradebook-tab") ?? newId();
    sessionStorage.setItem("gradebook-tab", id);
    return id;
  } catch {
    return "";
  }
}
