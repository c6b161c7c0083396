// The outbox, on every page: sends verdicts whose page was left before the server had acknowledged them.

const LOOK_MS = 250;
const RESEND_MS = 3_000; // after which an action without acknowledgement is sent again
const boxes = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let box = boxes.get(parentElement);
  if (!box) {
    box = createBox(parentElement);
    boxes.set(parentElement, box);
  }
  box.post = (message) => setStateValue("message", message);
  box.data = data;
  receiveOutcome(box);
}

function createBox(root) {
  const frame = document.createElement("div");
  frame.className = "outbox";
  frame.setAttribute("role", "status");
  root.append(frame);
  const box = { root, frame, data: null, sent: new Map(), done: new Set(), saved: 0, notices: [] };
  window.addEventListener("pagehide", () => root.isConnected && sendLate(box.data.project, box.data.late_path));
  const timer = setInterval(() => (root.isConnected ? sendLeft(box) : clearInterval(timer)), LOOK_MS);
  return box;
}

function sendLeft(box) {
  const left = leftActions(box.data.project), now = Date.now();
  const due = left.filter((action) => now - (box.sent.get(action.action_id) ?? 0) > RESEND_MS);
  if (due.length) {
    for (const action of left) box.sent.set(action.action_id, now);
    box.post({ actions: left });
  }
  drawOutbox(box.frame, { sending: left.length, saved: box.saved, notices: box.notices });
}

function receiveOutcome(box) {
  const { project, acknowledged, notices } = box.data;
  dropActions(project, acknowledged);
  const fresh = acknowledged.filter((id) => box.sent.has(id) && !box.done.has(id));
  const failed = fresh.filter((id) => id in notices);
  for (const id of fresh) box.done.add(id);
  box.saved += fresh.length - failed.length;
  box.notices.push(...failed.map((id) => notices[id]));
  sendLeft(box);
}
