// Talk with the server: questions that are answered, and events of a board's jobs.

export async function ask(path, body, method) {
  const answer = await send(path, body, method);
  return answer.json();
}

// The same for an answer that comes in parts; `part` gets each, the last one is returned.
export async function askInParts(path, body, part) {
  const reader = (await send(path, body)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer broke off.");
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) {
      const found = JSON.parse(line);
      if (found.error) throw new Error(sentence(found.error));
      if (found.whole) return found.whole;
      part(found);
    }
  }
}

async function send(path, body, method) {
  const options = { method: method ?? (body === undefined ? "GET" : "POST") };
  if (body instanceof Blob) {
    options.body = body;
    options.headers = { "content-type": "application/octet-stream" };
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let why = text;
  try { why = JSON.parse(text).error; } catch { /* plain text */ }
  throw new Error(sentence(why || `The server answered ${answer.status}.`));
}

// Events of a board's jobs, while the page can be seen; returns what ends them.
export function follow(board, tell, reopened) {
  let source = null;
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(`/api/events?board=${encodeURIComponent(board)}`);
    source.onmessage = (event) => tell(JSON.parse(event.data));
    source.onopen = () => reopened?.();
  };
  const close = () => { source?.close(); source = null; };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  open();
  return () => { document.removeEventListener("visibilitychange", seen); close(); };
}

export function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

export function alertUser(error) {
  const box = document.getElementById("alert");
  box.querySelector("span").textContent = error.message ?? String(error);
  box.hidden = false;
}

export function quietAlert() {
  document.getElementById("alert").hidden = true;
}

// Run what a button asks for; its errors go to the top of the page.
export const attempt = (action) => async (...given) => {
  quietAlert();
  try { return await action(...given); } catch (error) { alertUser(error); return null; }
};
