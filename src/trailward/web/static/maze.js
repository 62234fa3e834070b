// The maze tab: choose or paint, draw, learn, ask for plans, compare.
import { onTheme, paintScale } from "./colour.js";
import { MazeView } from "./mazeview.js";
import { alertUser, ask, askInParts, attempt, follow } from "./server.js";

const rows = (text) => text.split("/").map((row) => [...row].map(Number));
const MAZES = {
  umaze: rows("11111/10001/11101/10001/11111"),
  large: rows("111111111111/100001000001/101101010101/100000010001/101111011101/100101000001/110101011101/100100010001/111111111111"),
};
const LONGEST = 600;
const $ = (id) => document.getElementById(id);

export function openMaze(settings, keep, shared) {
  const view = new MazeView($("maze"));
  const state = {
    board: null, facts: null, maze: settings.maze === "large" ? "large" : "umaze", running: {},
    fans: null, which: settings.which === "without" ? "without" : "with", seed: 0, unfollow: null, playing: 0, changes: 0,
  };
  const say = (text) => { $("maze-status").textContent = text; };

  // ---- what is shown, and what can be asked for now
  function remember() {
    const kept = { maze: state.maze, strength: $("strength").value, plans: $("candidates").value, which: state.which };
    if (state.board) kept.board = state.board;
    shared.drawn = state.board;
    if (view.start) kept.start = view.start.map((v) => v.toFixed(2)).join(",");
    keep(kept);
  }

  function refresh() {
    const drawings = state.facts?.drawings ?? [];
    const ready = state.facts?.ready ?? !view.painting;
    const learnt = Boolean(view.map);
    view.drawings = drawings;
    const shown = drawings.filter((drawing) => !drawing.second);
    $("learn").disabled = !shown.length || !ready || Boolean(state.running.learn);
    $("learn").textContent = learnt ? "Learn again" : "Learn";
    $("stop").hidden = !state.running.learn;
    $("undo").disabled = $("clear").disabled = !drawings.length;
    $("again").disabled = !view.start || !ready;
    $("play").disabled = $("again").disabled || Boolean(state.running.learn);
    $("judge").disabled = !learnt || Boolean(state.running.judge || state.running.learn);
    $("compare").disabled = $("judge").disabled || Boolean(state.running.compare) || shown.length === drawings.length;
    $("expert").disabled = view.painting;
    $("maze-legend").hidden = !learnt;
    $("painting").hidden = !view.painting;
    for (const button of document.querySelectorAll("[data-maze]")) {
      const chosen = view.painting ? "paint" : state.facts ? (MAZES[state.facts.maze] ? state.facts.maze : "paint") : state.maze;
      button.setAttribute("aria-checked", button.dataset.maze === chosen);
      button.tabIndex = button.dataset.maze === chosen ? 0 : -1;
    }
    showDrawings(drawings);
    view.draw();
  }

  function showDrawings(drawings) {
    const list = $("drawings");
    list.replaceChildren(...drawings.map((drawing, index) => {
      const item = document.createElement("li");
      const name = drawing.source === "expert" ? `Expert’s ${index + 1}` : `Path ${index + 1}${drawing.second ? " (to compare)" : ""}`;
      const text = document.createElement("span");
      text.textContent = drawing.why ? `${name}: ${drawing.why}` : name;
      const away = document.createElement("button");
      away.className = "quiet";
      away.textContent = "✕";
      away.setAttribute("aria-label", `Delete ${name}`);
      away.addEventListener("click", attempt(() => change("remove", { number: drawing.number })));
      item.append(text, away);
      item.classList.toggle("short", Boolean(drawing.why));
      return item;
    }));
  }

  // ---- boards
  async function board() {
    if (!state.board) take(await ask("/api/boards", { environment: "maze", settings: { maze: state.maze } }));
    return state.board;
  }

  function take(facts) {
    const other = state.board !== facts.board;
    state.board = facts.board;
    state.facts = facts;
    if (other) {
      state.maze = MAZES[facts.maze] ? facts.maze : "paint";
      state.running = {};
      view.painting = false;
      view.setGrid(facts.grid);
      tasks(facts);
      state.unfollow?.();
      state.unfollow = follow(facts.board, happened, () => reload(facts.board));
    }
    if (facts.learnt) picture(facts.learnt);
    if (facts.jobs) reconcile(facts.jobs);
    $("welcome").hidden = true;
    refresh();
    remember();
  }

  // An answer that was on its way while something changed may be older than the change: ask again.
  async function reload(name) {
    try {
      let asked, facts;
      do {
        asked = state.changes;
        facts = await ask(`/api/boards/${name}`);
      } while (asked !== state.changes);
      if (name === state.board || !state.board) take(facts);
    } catch (error) { alertUser(error); }
  }

  const change = async (verb, given) => {
    const name = await board();
    const facts = await ask(`/api/boards/${name}/${verb}`, given);
    state.changes += 1;
    take({ ...state.facts, ...facts });
    return facts;
  };

  function begin(maze, remembered = true) {
    state.unfollow?.();
    Object.assign(state, { board: null, facts: null, maze, running: {}, fans: null, unfollow: null });
    view.drawings = [];
    view.painting = maze === "paint";
    if (view.painting) paintGrid();
    else view.setGrid(MAZES[maze]);
    view.setMap(null);
    for (const id of ["loss", "figures", "learning", "prepare", "judging"]) $(id).hidden = true;
    if (maze !== "paint") tasks({ grid: MAZES[maze] });
    say("");
    refresh();
    if (remembered) remember();
  }

  function tasks({ grid }) {
    const options = [["corner", "Go to the top right"]];
    grid.forEach((row, r) => row.forEach((cell, c) => {
      if (!cell) options.push([`goal:${r},${c}`, `Go to row ${r}, column ${c}`]);
    }));
    $("task").replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  }

  // ---- jobs
  const ENDED = ["done", "stopped", "failed"];
  const PLACES = { learn: "learning", prepare: "prepare", judge: "judging", compare: "judging" };

  // What this page takes to be running and the server does not know of has ended meanwhile.
  function reconcile(jobs) {
    for (const verb of Object.keys(state.running)) {
      if (jobs.some((job) => job.verb === verb)) continue;
      delete state.running[verb];
      $(PLACES[verb]).hidden = true;
    }
    for (const job of jobs) happened(job);
  }

  function happened(job) {
    const box = $(PLACES[job.verb]);
    if (!box) return;
    const over = ENDED.includes(job.state);
    if (over && state.running[job.verb] === undefined && job.state !== "failed") return;
    if (over) delete state.running[job.verb];
    else state.running[job.verb] = job.job;
    const { stage, done = 0, total = 1, losses } = job.shown;
    box.hidden = over;
    box.querySelector("p").textContent = over ? "" : job.state === "waiting" ? "Waiting for its turn" : job.shown.stopping ? "Keeping what is learnt so far" : told(stage, done, total, job.seconds);
    box.querySelector("progress").value = done / total;
    if (losses) showLosses(losses);
    const { learnt } = job.shown;
    if (learnt && state.told !== job.job && !over) { state.told = job.job; settled(learnt); }
    else if (job.shown.map && !learnt) picture(job.shown);
    if (job.state === "failed") alertUser(new Error(`It failed: ${job.why}.`));
    if (job.state === "stopped") say("Stopped.");
    if (job.state === "done") finished(job);
    refresh();
  }

  function told(stage, done, total, seconds) {
    if (!stage) return "Starting";
    if (stage === "Finding the ways there") return `${stage}; plans follow them soon`;
    const left = done > 0 ? (seconds * (total - done)) / done : null;
    const soon = left === null || total - done <= 0 ? "" : left > 90 ? `, about ${Math.round(left / 60)} minutes left` : `, about ${Math.max(1, Math.round(left))} s left`;
    return `${stage}: ${Math.round((100 * done) / total)}%${soon}`;
  }

  function settled(learnt) {
    const [row, column] = learnt.map.best_cell;
    picture(learnt);
    say(`Learnt in ${learnt.seconds} s. The best place is row ${row}, column ${column} (the star). Click anywhere to see plans.`);
  }

  function finished(job) {
    if (job.verb === "learn") {
      if (state.told !== job.job) settled(job.answer);
      state.facts.learnt = job.answer;
      if (view.start) fan(view.start);
    }
    if (job.verb === "prepare") { say("This maze is ready. Draw a few paths."); reload(state.board); }
    if (job.verb === "judge") showFigures(job.answer);
    if (job.verb === "compare") showCompared(job.answer);
  }

  function picture({ map, plans = [], losses }) {
    view.plans = state.running.learn ? plans : [];
    if (map.levels !== view.map?.levels) performance.mark("map");
    view.setMap(map);
    paintScale($("maze-scale"));
    if (losses) showLosses(losses);
  }

  function showLosses(losses) {
    $("loss").hidden = losses.length < 2;
    const top = Math.max(...losses, 1e-9), low = Math.min(...losses, 0);
    const points = losses.map((loss, i) => `${(200 * i) / Math.max(losses.length - 1, 1)},${2 + 40 * (1 - (loss - low) / (top - low))}`);
    $("loss").querySelector("polyline").setAttribute("points", points.join(" "));
  }

  function showFigures(found) {
    const percent = (x) => `${Math.round(100 * x)}%`;
    const entries = [];
    const share = found.return_fraction;
    if (share) entries.push(["Return", `${percent(share.value)} of a demonstrator’s (${percent(share.low)} to ${percent(share.high)}); 0% is planning without the reward`]);
    const { pearson, distance } = found.erc_windows;
    entries.push(["Agreement", `${pearson.value.toFixed(2)} with the true reward over recorded play (1 is perfect; ERC distance ${distance.value.toFixed(2)})`]);
    const { learnt, true: truth, hit } = found.best_cell;
    entries.push(["Best cell", hit ? `right: row ${learnt[0]}, column ${learnt[1]}` : `row ${learnt[0]}, column ${learnt[1]}; in truth row ${truth[0]}, column ${truth[1]}`]);
    put(entries);
  }

  function showCompared({ rank, apart, count }) {
    const paths = count === 1 ? "The path to compare earns" : `The ${count} paths to compare earn`;
    put([
      ["Reward", `${paths} more than ${Math.round(100 * rank)}% of aimless play`],
      ["Planner", `begun where they begin, it ends ${apart.toFixed(2)} m from where they end`],
    ]);
  }

  function put(entries) {
    $("figures").replaceChildren(...entries.flatMap(([name, text]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      [dt.textContent, dd.textContent] = [name, text];
      return [dt, dd];
    }));
    $("figures").hidden = false;
  }

  const startJob = (verb, given) => attempt(async () => {
    const name = await board();
    const job = await ask(`/api/boards/${name}/${verb}`, given());
    state.changes += 1;
    happened(job);
  });

  // ---- plans
  const fan = attempt(async (start, settled = false) => {
    const name = await board();
    if (!state.facts.ready) { say("This maze must be made ready first."); return; }
    view.start = start;
    Object.assign(view, { trail: [], ball: null, plans: [] });
    const given = { start, scale: Number($("strength").value), candidates: Number($("candidates").value), seed: state.seed };
    state.fans = await ask(`/api/boards/${name}/plans`, given);
    choose(settled);
    remember();
    refresh();
  });

  function choose(settled) {
    const fans = state.fans;
    if (!fans) return;
    view.fan = fans[state.which] ?? fans.without;
    const last = view.fan.steps.length - 1;
    $("step").max = last;
    const touching = view.fan.touches.filter(Boolean).length;
    const all = view.fan.touches.length;
    say(`${all} plans${fans.with ? "" : " (nothing is learnt yet, so without a reward)"}; ${touching ? `${touching} touch a wall and fade` : "none touches a wall"}.`);
    if (settled || matchMedia("(prefers-reduced-motion: reduce)").matches) { setStep(last); return; }
    const began = performance.now();
    const unfold = (now) => {
      const share = Math.min((now - began) / 700, 1);
      setStep(Math.round(share * last));
      if (share < 1 && view.fan) requestAnimationFrame(unfold);
    };
    requestAnimationFrame(unfold);
  }

  function setStep(step) {
    view.step = step;
    $("step").value = step;
    showSliders();
    view.draw();
  }

  function showSliders() {
    const outputs = [["step", (v) => `${v} of ${$("step").max}`], ["strength", (v) => `${v} ×`], ["candidates", (v) => v]];
    for (const [id, text] of outputs) {
      $(id).parentElement.querySelector("output").textContent = text($(id).value);
      $(id).setAttribute("aria-valuetext", text($(id).value));
    }
  }

  const play = attempt(async () => {
    const name = await board();
    const scale = state.which === "without" ? 0 : Number($("strength").value);
    say("The ball is on its way.");
    const given = { start: view.start, scale, candidates: Number($("candidates").value), seed: state.seed };
    Object.assign(view, { fan: null, plans: [], trail: [view.start], ball: view.start });
    view.draw();
    const path = [], turn = (state.playing += 1);
    let shown = 0, over = null;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const move = () => {
      if (turn !== state.playing || !view.trail.length) return;
      shown = over && calm ? path.length : Math.min(shown + (path.length - shown > 60 ? 3 : 1), path.length);
      if (shown) {
        view.trail = path.slice(0, shown);
        view.ball = path[shown - 1];
        view.paint();
      }
      if (!over || shown < path.length) requestAnimationFrame(move);
      else say(`After ${path.length - 1} steps the ball stays at ${over.stays}.`);
    };
    requestAnimationFrame(move);
    over = await askInParts(`/api/boards/${name}/run`, given, (part) => path.push(...part.path));
    path.push(...over.path);
  });

  // ---- painting a maze
  function paintGrid() {
    const clamp = (id) => Math.min(Math.max(Number($(id).value) || 3, Number($(id).min)), Number($(id).max));
    const [height, width] = [clamp("paint-rows"), clamp("paint-columns")];
    const before = view.grid;
    view.setGrid(Array.from({ length: height + 2 }, (_, r) => Array.from({ length: width + 2 }, (_, c) => {
      const border = r === 0 || c === 0 || r === height + 1 || c === width + 1;
      const old = state.painted && before[r]?.[c];
      return border || (old && r < before.length - 1 && c < before[0].length - 1) ? 1 : 0;
    })));
    state.painted = true;
  }

  let brush = null;
  function paintCell(place) {
    const [r, c] = view.cell(place);
    if (r < 1 || c < 1 || r > view.grid.length - 2 || c > view.grid[0].length - 2) return;
    brush ??= 1 - view.grid[r][c];
    view.grid[r][c] = brush;
    view.draw();
  }

  const usePainted = attempt(async () => {
    const maze = view.grid.map((row) => row.join("")).join("/");
    take(await ask("/api/boards", { environment: "maze", settings: { maze } }));
    state.painted = false;
    await startJob("prepare", () => ({}))();
  });

  // ---- drawing, with the mouse, a finger or the keyboard
  const finishLine = attempt(async () => {
    const line = view.line;
    view.line = null;
    view.draw();
    if (!line || line.length < 2) return;
    view.line = line;
    try {
      say("The ball follows your line.");
      Object.assign(view, { fan: null, trail: [], ball: null });
      const facts = await change("draw", { line, second: $("second").checked });
      const drawn = facts.drawings.at(-1);
      say(drawn.why ? `Kept in part: ${drawn.why}.` : `Path ${facts.drawings.length} is kept.${facts.drawings.length < 3 ? " Draw another, or learn." : ""}`);
    } finally { view.line = null; view.draw(); }
  });

  const canvas = view.canvas;
  let pressed = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    view.cursor = null;
    pressed = view.place(event);
    if (view.painting) paintCell(pressed);
    else view.line = [pressed];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pressed) return;
    const place = view.place(event);
    if (view.painting) { paintCell(place); return; }
    const last = view.line.at(-1);
    if (Math.hypot(place[0] - last[0], place[1] - last[1]) > 0.05 && view.line.length < LONGEST) view.line.push(place);
    view.draw();
  });
  const release = (event) => {
    if (!pressed) return;
    const place = view.place(event), moved = Math.hypot(place[0] - pressed[0], place[1] - pressed[1]);
    const line = view.line;
    pressed = brush = null;
    if (view.painting) return;
    if (line.length < 3 && moved < 0.15) { view.line = null; click(place); } else finishLine();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", () => { pressed = brush = view.line = null; view.draw(); });

  function click(place) {
    if (!view.isFree(place)) { say("That is a wall. Click a free place for plans."); view.draw(); return; }
    fan(place);
  }

  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const free = view.grid.flatMap((row, r) => row.map((cell, c) => [r, c, cell])).find(([r, , cell]) => !cell && r);
    if (moves[event.key]) {
      const step = view.painting ? 1 : event.shiftKey ? 1 : 0.25;
      view.cursor ??= view.center(free);
      view.cursor = view.cursor.map((v, axis) => v + step * moves[event.key][axis]);
      if (view.line && !pressed) view.line.push([...view.cursor]);
      const [row, column] = view.cell(view.cursor);
      say(`Row ${row}, column ${column}${view.isFree(view.cursor) ? "" : ", a wall"}.`);
    } else if (event.key === " " && view.cursor) {
      if (view.painting) { brush = null; paintCell(view.cursor); brush = null; }
      else if (view.line) finishLine();
      else { view.line = [[...view.cursor]]; say("A line begins here."); }
    } else if (event.key === "Enter" && view.cursor && !view.painting) {
      click(view.cursor);
    } else if (event.key === "Escape") {
      view.line = view.cursor = null;
    } else return;
    event.preventDefault();
    view.draw();
  });

  // ---- buttons
  for (const button of document.querySelectorAll("[data-maze]")) button.addEventListener("click", () => begin(button.dataset.maze));
  for (const button of document.querySelectorAll("[data-which]")) {
    button.addEventListener("click", () => {
      state.which = button.dataset.which;
      showWhich();
      choose(true);
      remember();
    });
  }
  function showWhich() {
    for (const each of document.querySelectorAll("[data-which]")) {
      each.setAttribute("aria-checked", each.dataset.which === state.which);
      each.tabIndex = each.dataset.which === state.which ? 0 : -1;
    }
  }
  for (const group of document.querySelectorAll("#panel-maze [role=radiogroup]")) {
    group.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      const all = [...group.querySelectorAll("[role=radio]")];
      const next = all[(all.indexOf(document.activeElement) + move + all.length) % all.length];
      event.preventDefault();
      next.focus();
      next.click();
    });
  }
  $("example").addEventListener("click", attempt(async () => {
    $("second").checked = false;
    const facts = await ask("/api/boards", { kind: "example" });
    take(facts);
    say("Three paths were drawn; the star is where they lead. Click anywhere to see plans.");
    if (facts.start) await fan(facts.start);
  }));
  $("begin").addEventListener("click", () => { $("welcome").hidden = true; canvas.focus(); });
  $("learn").addEventListener("click", () => { Object.assign(view, { fan: null, trail: [], ball: null }); startJob("learn", () => ({}))(); });
  $("stop").addEventListener("click", attempt(() => ask(`/api/jobs/${state.running.learn}/stop`, {})));
  $("prepare").querySelector("button").addEventListener("click", attempt(() => ask(`/api/jobs/${state.running.prepare}/stop`, {})));
  $("judge").addEventListener("click", startJob("judge", () => ({ task: $("task").value })));
  $("compare").addEventListener("click", startJob("compare", () => ({})));
  $("undo").addEventListener("click", attempt(() => change("remove", { number: state.facts.drawings.at(-1).number })));
  $("clear").addEventListener("click", attempt(() => change("remove", {})));
  $("expert").addEventListener("click", attempt(async () => {
    say("The expert is walking.");
    await change("expert", { task: $("task").value, count: 3 });
    say("Three paths of an expert at the task chosen below.");
  }));
  $("play").addEventListener("click", play);
  $("again").addEventListener("click", () => { state.seed += 1; fan(view.start); });
  $("step").addEventListener("input", () => setStep(Number($("step").value)));
  for (const id of ["strength", "candidates"]) {
    $(id).addEventListener("input", showSliders);
    $(id).addEventListener("change", () => { remember(); if (view.start) fan(view.start, true); });
  }
  for (const id of ["paint-rows", "paint-columns"]) $(id).addEventListener("change", paintGrid);
  $("paint-done").addEventListener("click", usePainted);
  onTheme(() => { view.setMap(view.map); paintScale($("maze-scale")); });

  // ---- as the address says
  if (settings.strength) $("strength").value = settings.strength;
  if (settings.plans) $("candidates").value = settings.plans;
  showWhich();
  showSliders();
  begin(state.maze, !settings.board);
  const start = settings.start?.split(",").map(Number);
  if (settings.board) {
    ask(`/api/boards/${encodeURIComponent(settings.board)}`).then((facts) => {
      take(facts);
      if (start?.length === 2 && start.every(Number.isFinite) && facts.ready) fan(start, true);
    }, alertUser);
  }
  return { shown: () => { view.fit(); remember(); if (shared.settled) { shared.settled = false; reload(state.board); } } };
}
