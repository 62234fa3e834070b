// The tracks tab: drop files, say what is what, pick, fit, take the results away.
import { onTheme, paintScale } from "./colour.js";
import { alertUser, ask, attempt, follow } from "./server.js";
import { TrackView } from "./trackview.js";

const $ = (id) => document.getElementById(id);

export function openTracks(settings, keep) {
  const view = new TrackView($("tracks"));
  const state = { board: null, facts: null, job: null, unfollow: null, layer: "reward" };
  const say = (text) => { $("track-status").textContent = text; };

  async function board() {
    if (!state.board) take(await ask("/api/boards", { kind: "tracks" }));
    return state.board;
  }

  function take(facts) {
    if (state.board !== facts.board && facts.board) {
      state.board = facts.board;
      state.unfollow?.();
      state.unfollow = follow(facts.board, happened);
      keep({ board: facts.board });
    }
    state.facts = { ...state.facts, ...facts };
    for (const job of facts.jobs ?? []) happened(job);
    if (facts.fitted) showFit(facts.fitted);
    refresh();
  }

  // Whatever changes the data makes what was fitted to it void.
  const change = async (verb, given) => { take(await ask(`/api/boards/${await board()}/${verb}`, given)); forget(); };

  function refresh() {
    view.walls = state.facts?.walls ?? view.walls;
    $("undo-wall").disabled = !view.walls.length;
    const { columns = [], preview = [], tracks, some = [], num_tracks, findings = [], facts, layout = {}, units = [] } = state.facts ?? {};
    const called = state.facts?.files?.everybody;
    $("file-name").hidden = !called;
    $("file-name").textContent = called ? `${called}${num_tracks ? `: ${num_tracks} tracks, ${facts.num_steps.toLocaleString("en")} moments` : ""}` : "";
    $("columns").hidden = !columns.length;
    fillColumns(columns, layout);
    fillPreview(columns, preview);
    $("fit").disabled = !some.length || Boolean(state.job);
    $("fit-stop").hidden = !state.job;
    $("findings").replaceChildren(...findings.map(item));
    $("entries").replaceChildren(...(facts?.entries ?? []).map(strip));
    if (tracks) {
      view.setTracks(tracks, some, units[0] ?? "");
      $("tracks").setAttribute("aria-label", `${num_tracks} tracks, ${some.length} of them of interest`);
    }
    $("picked").value = (state.facts?.picked ?? []).join(", ");
  }

  function item(text) {
    const li = document.createElement("li");
    li.textContent = text.charAt(0).toUpperCase() + text.slice(1);
    return li;
  }

  // An entry's range as a strip: whiskers to least and most, a box for nine in ten, the median.
  function strip({ name, unit, numbers }) {
    const [least, low, median, high, most] = numbers, width = most - least || 1;
    const at = (v) => (100 * (v - least)) / width;
    const box = document.createElement("div");
    box.className = "entry";
    const short = (v) => Number(v.toPrecision(3));
    box.innerHTML = `<span></span><svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true"><line x1="0" x2="100" y1="7" y2="7" stroke="var(--line)" stroke-width="2" vector-effect="non-scaling-stroke"/><rect x="${at(low)}" width="${Math.max(at(high) - at(low), 1)}" y="3" height="8" rx="1" fill="var(--accent)" opacity=".35"/><rect x="${at(median) - 0.6}" width="1.2" y="1" height="12" fill="var(--accent)"/></svg><span></span>`;
    const [label, range] = box.querySelectorAll("span");
    label.textContent = unit ? `${name} (${unit})` : name;
    range.textContent = `${short(least)} to ${short(most)}`;
    return box;
  }

  function fillColumns(columns, layout) {
    const chosen = { episode: layout.episode, frame: layout.frame, x: layout.observations?.[0], y: layout.observations?.[1] };
    for (const [role, value] of Object.entries(chosen)) {
      $(`column-${role}`).replaceChildren(new Option("(as found)", ""), ...columns.map((c) => new Option(c, c)));
      $(`column-${role}`).value = value ?? "";
    }
  }

  function fillPreview(columns, preview) {
    const table = $("preview");
    table.querySelectorAll("thead, tbody").forEach((part) => part.remove());
    const row = (cells, kind) => {
      const tr = document.createElement("tr");
      tr.append(...cells.map((cell) => { const each = document.createElement(kind); each.textContent = cell; if (kind === "th") each.scope = "col"; return each; }));
      return tr;
    };
    const [head, body] = [document.createElement("thead"), document.createElement("tbody")];
    head.append(row(columns.slice(0, 12), "th"));
    body.append(...preview.map((cells) => row(cells, "td")));
    table.append(head, body);
  }

  const upload = attempt(async (role, file) => {
    if (!file) return;
    const name = await board();
    say(`Reading ${file.name}.`);
    try {
      take(await ask(`/api/boards/${name}/files/${role}?name=${encodeURIComponent(file.name)}`, file.slice()));
      forget();
      const count = state.facts.num_tracks;
      say(count ? `${count} tracks. Draw a loop around the ends of those that interest you.` : "Say which column is what, or mend the file.");
      if (!count && state.facts.why) alertUser(new Error(state.facts.why));
    } catch (error) { say(""); throw error; }
  });

  // ---- fitting
  function happened(job) {
    if (job.verb !== "fit") return;
    const over = ["done", "stopped", "failed"].includes(job.state);
    state.job = over ? null : job.job;
    const { stage, done = 0, total = 1, says = [] } = job.shown;
    $("fitting").hidden = over;
    $("fitting").querySelector("p").textContent = stage ? `${stage}: ${Math.round((100 * done) / total)}% of the time` : "Waiting for its turn";
    if (!over) $("fit-says").replaceChildren(...says.map(item));
    $("fitting").querySelector("progress").value = done / total;
    if (job.state === "failed") alertUser(new Error(`It failed: ${job.why}.`));
    if (job.state === "stopped" || (job.state === "done" && !job.answer.map)) say("Stopped. Fit again to go on.");
    else if (job.state === "done") { showFit(job.answer); say("This is what they seek, as far as these tracks tell."); }
    refresh();
  }

  function showFit(found) {
    state.fitted = found;
    view.plans = found.plans ?? [];
    view.walls = found.walls ?? [];
    showLayer();
    $("track-legend").hidden = false;
    paintScale($("track-scale"));
    $("fit-says").replaceChildren(...(found.says ?? []).map(item));
    $("layers").hidden = !found.unsure;
    $("take").hidden = false;
    $("python").textContent = found.python ?? "";
    offer(found.downloads ?? []);
  }

  function forget() {
    if (!state.fitted) return;
    state.fitted = null;
    view.plans = [];
    view.setMap(null);
    for (const id of ["track-legend", "layers", "take"]) $(id).hidden = true;
    $("fit-says").replaceChildren();
  }

  function showLayer() {
    view.setMap(state.layer === "unsure" && state.fitted?.unsure ? state.fitted.unsure : state.fitted?.map ?? null);
    const [low, high] = $("track-legend").querySelectorAll("span");
    [low.textContent, high.textContent] = state.layer === "unsure" ? ["sure", "unsure"] : ["like everybody", "like those of interest"];
    for (const each of document.querySelectorAll("[data-layer]")) each.setAttribute("aria-checked", each.dataset.layer === state.layer);
  }

  // ---- files in and out
  const drop = $("drop");
  for (const kind of ["dragenter", "dragover"]) $("panel-tracks").addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) $("panel-tracks").addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  $("panel-tracks").addEventListener("drop", (event) => {
    const [first, second] = event.dataTransfer.files;
    upload("everybody", first).then(() => second && upload("some", second));
  });
  for (const role of ["everybody", "some", "walls"]) {
    $(`file-${role}`).addEventListener("change", (event) => { upload(role, event.target.files[0]); event.target.value = ""; });
  }

  const saved = (name, content) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const CALLED = {
    "reward.zip": "Reward (zip)", "map.png": "Map (PNG)", "map.svg": "Map (SVG)", "map.csv": "Map (CSV)", "map.npz": "Map (npz)",
    "report.html": "Report", "methods.txt": "Methods paragraph", "fit.json": "Figures (JSON)",
  };
  async function fetched(what) {
    const answer = await fetch(`/api/boards/${state.board}/download/${what}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    saved(what, await answer.blob());
  }
  function offer(names) {
    $("downloads").replaceChildren(...names.map((name) => {
      const button = document.createElement("button");
      button.textContent = CALLED[name] ?? name;
      button.addEventListener("click", attempt(() => fetched(name)));
      return button;
    }));
  }

  // ---- picking
  const inside = ([x, y], loop) => loop.reduce((found, [x0, y0], i) => {
    const [x1, y1] = loop[(i + 1) % loop.length];
    return (y0 > y) !== (y1 > y) && x < x0 + ((x1 - x0) * (y - y0)) / (y1 - y0) ? !found : found;
  }, false);
  const canvas = view.canvas;
  const walling = () => $("draw-walls").getAttribute("aria-pressed") === "true";
  const keepWalls = async (walls) => {
    view.wall = null;
    await change("wall", { walls: walls.map(([[x0, y0], [x1, y1]]) => [x0, y0, x1, y1]) });
    say(`${walls.length} ${walls.length === 1 ? "wall" : "walls"}. Plans are counted that cross one.`);
  };
  $("draw-walls").addEventListener("click", () => {
    const on = !walling();
    $("draw-walls").setAttribute("aria-pressed", on);
    say(on ? "Drag on the map from end to end of a wall." : "Draw a loop around the ends of those that interest you.");
  });
  $("undo-wall").addEventListener("click", attempt(() => keepWalls(view.walls.slice(0, -1))));
  canvas.addEventListener("pointerdown", (event) => {
    if (!view.tracks.length || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (walling()) view.wall = [view.place(event), view.place(event)];
    else view.loop = [view.place(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (view.wall) { view.wall[1] = view.place(event); view.draw(); }
    if (view.loop) { view.loop.push(view.place(event)); view.draw(); }
  });
  canvas.addEventListener("pointerup", attempt(async () => {
    if (view.wall) { await keepWalls([...view.walls, view.wall]); return; }
    const loop = view.loop;
    view.loop = null;
    view.draw();
    if (!loop || loop.length < 8) return;
    const tracks = view.tracks.filter(({ path }) => inside(path.at(-1), loop)).map((t) => t.number);
    if (!tracks.length) { say("No track ends in there."); return; }
    await change("pick", { tracks });
    say(`${tracks.length} tracks end in there. Now fit.`);
  }));
  $("pick").addEventListener("click", attempt(async () => {
    const tracks = $("picked").value.split(/[^0-9]+/).filter(Boolean).map(Number);
    await change("pick", { tracks });
    say(`${tracks.length} tracks are taken.`);
  }));
  $("arrange").addEventListener("click", attempt(() => {
    const value = (role) => $(`column-${role}`).value || null;
    const observations = [value("x"), value("y")].filter(Boolean);
    return change("arrange", { episode: value("episode"), frame: value("frame"), observations });
  }));
  $("fit").addEventListener("click", attempt(async () => happened(await ask(`/api/boards/${await board()}/fit`, { minutes: Number($("fit-minutes").value) }))));
  $("fit-stop").addEventListener("click", attempt(() => ask(`/api/jobs/${state.job}/stop`, {})));
  for (const button of document.querySelectorAll("[data-layer]")) button.addEventListener("click", () => { state.layer = button.dataset.layer; showLayer(); });
  onTheme(() => { view.setMap(view.map); paintScale($("track-scale")); });

  view.fit();
  if (settings.board) {
    ask(`/api/boards/${encodeURIComponent(settings.board)}`).then(async (facts) => {
      take(facts);
      if (facts.files?.everybody) take(await ask(`/api/boards/${facts.board}/look`, {}));
    }).catch(alertUser);
  }
  return { shown: () => { view.fit(); keep(state.board ? { board: state.board } : {}); } };
}
