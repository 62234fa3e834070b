// Which is better? Two recorded pieces, an answer, and what the answers tell of the reward.
import { onTheme, paintScale } from "./colour.js";
import { MazeView } from "./mazeview.js";
import { alertUser, ask, attempt, follow } from "./server.js";

const $ = (id) => document.getElementById(id);
const KEYS = { 1: "first", 2: "second", 0: "equal" };

export function openAsk(settings, keep, shared) {
  const pieces = [new MazeView($("piece-first")), new MazeView($("piece-second"))], map = new MazeView($("ask-map"));
  const state = { board: null, asked: null, skipped: 0, busy: false, unfollow: null };

  const board = (verb, given = {}) => ask(`/api/boards/${encodeURIComponent(state.board)}/${verb}`, given);

  const open = attempt(async (name) => {
    state.board = name;
    state.skipped = 0;
    const facts = await ask(`/api/boards/${encodeURIComponent(name)}`);
    const ready = Boolean(facts.learnt && facts.grid);
    $("ask-nothing").hidden = ready;
    $("ask-shown").hidden = !ready;
    keep({ board: name });
    if (!ready) return;
    for (const view of [...pieces, map]) view.setGrid(facts.grid);
    state.unfollow?.();
    state.unfollow = follow(name, happened);
    $("ask-status").textContent = "Looking for the question that tells most.";
    show(await board("question", { skipped: 0 }));
  });

  function show(asked) {
    state.asked = asked;
    asked.pieces.forEach((path, index) => {
      Object.assign(pieces[index], { plans: [path], start: path[0], bold: true });
      pieces[index].draw();
    });
    map.setMap(asked.map);
    paintScale($("ask-scale"));
    $("ask-says").textContent = asked.says;
    $("ask-status").textContent = asked.number ? `${asked.number} answered. Next question.` : "Press 1, 2 or 0, or use the buttons.";
    $("ask-settle").disabled = $("ask-forget").disabled = !asked.number;
    $("readings").replaceChildren(...asked.weights.map(({ name, says, weight }) => {
      const item = document.createElement("li"), label = document.createElement("span"), bar = document.createElement("meter"), share = document.createElement("span");
      label.textContent = says;
      label.title = name;
      bar.value = weight;
      bar.setAttribute("aria-label", says);
      share.textContent = `${Math.round(100 * weight)}%`;
      item.append(label, bar, share);
      return item;
    }));
  }

  const once = (action) => attempt(async (...given) => {
    if (state.busy || !state.asked) return;
    state.busy = true;
    try { await action(...given); } finally { state.busy = false; }
  });
  const answer = once(async (choice) => show(await board("answer", { number: state.asked.number, choice, skipped: state.skipped })));

  function happened(job) {
    if (job.verb !== "settle") return;
    const over = ["done", "stopped", "failed"].includes(job.state);
    $("settling").hidden = over;
    $("settling").querySelector("p").textContent = job.shown.stage ?? "Waiting for its turn";
    if (job.state === "failed") alertUser(new Error(`It failed: ${job.why}.`));
    if (job.state === "done") {
      shared.settled = true;
      $("ask-status").textContent = "Plans in the maze follow your answers now.";
    }
  }

  for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => answer(button.dataset.choice));
  document.addEventListener("keydown", (event) => {
    if ($("panel-ask").hidden || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    if (KEYS[event.key]) { event.preventDefault(); answer(KEYS[event.key]); }
  });
  $("ask-skip").addEventListener("click", once(async () => { state.skipped += 1; show(await board("question", { skipped: state.skipped })); }));
  $("ask-forget").addEventListener("click", once(async () => { state.skipped = 0; show(await board("forget")); }));
  $("ask-settle").addEventListener("click", attempt(async () => happened(await board("settle"))));
  $("ask-example").addEventListener("click", attempt(async () => open((await ask("/api/boards", { kind: "example" })).board)));
  onTheme(() => { map.setMap(map.map); paintScale($("ask-scale")); });

  const shown = () => {
    const name = shared.drawn ?? settings.board;
    if (name) open(name);
    for (const view of [...pieces, map]) view.fit();
  };
  shown();
  return { shown };
}
