// Draws the outbox: what became of verdicts whose page was left. It is empty where there were none.

function drawOutbox(frame, { sending, saved, notices, problem }) {
  const lines = [];
  if (sending) lines.push(`Sending ${count(sending)} given before you left the page…`);
  if (problem) lines.push(problem);
  if (saved) lines.push(`${count(saved)} given before you left the page ${saved === 1 ? "is" : "are"} saved.`);
  frame.replaceChildren(
    ...[...lines, ...notices].map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    }),
  );
}

const count = (number) => `${number} ${number === 1 ? "verdict" : "verdicts"}`;
