// The outbox, on every page: sends verdicts whose page was left before the server had acknowledged them.

const LOOK_MS = 250;
const RETRY_MS = 3_000; // after a request that failed
const boxes = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  let box = boxes.get(parentElement);
  if (!box) {
    box = createBox(parentElement);
    boxes.set(parentElement, box);
  }
  box.data = data;
  sendLeft(box);
}

function createBox(root) {
  const frame = document.createElement("div");
  frame.className = "outbox";
  frame.setAttribute("role", "status");
  root.append(frame);
  const box = { root, frame, data: null, isSending: false, retryAt: 0, saved: 0, notices: [], problem: null };
  window.addEventListener("pagehide", () => root.isConnected && sendLate(box.data));
  const timer = setInterval(() => (root.isConnected ? sendLeft(box) : clearInterval(timer)), LOOK_MS);
  return box;
}

async function sendLeft(box) {
  const { project, late_path, page } = box.data, left = leftActions(project);
  drawOutbox(box.frame, { sending: left.length, saved: box.saved, notices: box.notices, problem: box.problem });
  if (!left.length || box.isSending || Date.now() < box.retryAt) return;
  box.isSending = true;
  try {
    const body = JSON.stringify({ page, actions: left }), headers = { "Content-Type": "application/json" };
    const response = await fetch(late_path, { method: "POST", headers, body });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    receiveOutcome(box, await response.json());
  } catch (error) {
    box.problem = `Not yet saved (${error.message}): trying again.`;
  }
  box.retryAt = leftActions(project).length ? Date.now() + RETRY_MS : 0;
  box.isSending = false;
}

function receiveOutcome(box, { acknowledged, notices, problem }) {
  dropActions(box.data.project, acknowledged);
  const failed = acknowledged.filter((id) => id in notices);
  box.saved += acknowledged.length - failed.length;
  box.notices.push(...failed.map((id) => notices[id]));
  box.problem = problem;
}
