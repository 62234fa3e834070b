// The running tab: three runs side by side, a moment to choose, and two rewards below.
import { onTheme, theme } from "./colour.js";
import { alertUser, ask, attempt, follow } from "./server.js";

const $ = (id) => document.getElementById(id);
const CALLED = { unguided: "without a reward", learnt: "with the learnt reward", demonstrator: "the demonstrator" };
const COLOURS = { unguided: "#7b8794", learnt: "#e0763a", demonstrator: "#2673b8" };
const ENVIRONMENT = "HalfCheetah-v5";
const LANE = 1.9; // metres that a lane is high

export function openRunning(settings, keep) {
  const state = { board: null, shown: "", unfollow: null, job: null, found: null, moment: 0, playing: false };

  async function board() {
    const shown = $("race-what").value;
    if (!state.board || state.shown !== shown) {
      state.shown = shown;
      take(await ask("/api/boards", shown ? { kind: "shown", shown } : { kind: "running", environment: ENVIRONMENT }));
    }
    return state.board;
  }

  function take(facts) {
    if (state.board !== facts.board) {
      state.board = facts.board;
      state.unfollow?.();
      state.unfollow = follow(facts.board, happened);
      keep({ board: facts.board });
    }
    for (const job of facts.jobs ?? []) happened(job);
    if (facts.learnt) show(facts.learnt);
  }

  function happened(job) {
    if (job.verb !== "race") return;
    const over = ["done", "stopped", "failed"].includes(job.state);
    state.job = over ? null : job.job;
    const { stage, done = 0, total = 1 } = job.shown;
    $("race").disabled = !over;
    $("race-stop").hidden = $("racing").hidden = over;
    $("racing").querySelector("p").textContent = stage ? `${stage}: ${Math.round((100 * done) / total)}%` : "Waiting for its turn";
    $("racing").querySelector("progress").value = done / total;
    if (job.state === "failed") alertUser(new Error(`It failed: ${job.why}.`));
    if (job.state === "done" && job.answer.runs) { show(job.answer); play(!matchMedia("(prefers-reduced-motion: reduce)").matches); }
  }

  function show(found) {
    state.found = found;
    $("race-shown").hidden = false;
    $("moment").max = Math.max(...found.runs.map((run) => run.frames.length)) - 1;
    paint();
  }

  function sized(canvas, height) {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    return [canvas.getContext("2d"), ratio];
  }

  function paint() {
    if (!state.found || $("panel-running").hidden) return;
    const moment = state.moment, { runs, time_step } = state.found;
    const [c, ratio] = sized($("runners"), state.found.runs.length * 130);
    const look = theme(), lane = c.canvas.height / runs.length, unit = lane / LANE;
    c.fillStyle = look.floor;
    c.fillRect(0, 0, c.canvas.width, c.canvas.height);
    runs.forEach((run, row) => {
      const frame = run.frames[Math.min(moment, run.frames.length - 1)] ?? {};
      const ground = (row + 1) * lane - 0.28 * unit;
      if (frame.picture) paintPicture(c, frame.picture, row * lane, lane);
      if (frame.limbs) {
        ticks(c, look, ground, frame.x, unit, ratio);
        paintLimbs(c, frame.limbs, COLOURS[run.name], (x, z) => [c.canvas.width / 2 + x * unit, ground - z * unit], unit);
      }
      c.fillStyle = look.ink;
      c.font = `${14 * ratio}px system-ui, sans-serif`;
      const far = frame.limbs ? `: ${frame.x.toFixed(1)} m` : "";
      c.fillText(`${CALLED[run.name]}${far}`, 14 * ratio, row * lane + 24 * ratio);
    });
    $("moment").value = moment;
    $("moment-says").textContent = `${(moment * time_step).toFixed(2)} s`;
    $("moment").setAttribute("aria-valuetext", $("moment-says").textContent);
    chart($("chart-true"), runs, "true", moment);
    chart($("chart-learnt"), runs, "learnt", moment);
  }

  function paintLimbs(c, limbs, colour, at, unit) {
    c.lineCap = "round";
    c.strokeStyle = colour;
    state.found.radii.forEach((radius, limb) => {
      const [x0, z0, x1, z1] = limbs.slice(4 * limb, 4 * limb + 4);
      c.lineWidth = 2 * radius * unit;
      c.beginPath();
      c.moveTo(...at(x0, z0));
      c.lineTo(...at(x1, z1));
      c.stroke();
    });
  }

  // Pictures are decoded when they are first looked at.
  const images = new Map();
  function paintPicture(c, source, top, height) {
    if (!images.has(source)) {
      const image = new Image();
      image.onload = paint;
      image.src = source;
      images.set(source, image);
    }
    const image = images.get(source);
    if (!image.complete) return;
    const width = (height * image.naturalWidth) / image.naturalHeight;
    c.drawImage(image, (c.canvas.width - width) / 2, top, width, height);
  }

  // A line of ground with a tick every metre, so that speed can be seen.
  function ticks(c, look, ground, camera, unit, ratio) {
    Object.assign(c, { strokeStyle: look.wall, lineWidth: 1.5 * ratio, lineCap: "butt", globalAlpha: 0.6 });
    c.beginPath();
    c.moveTo(0, ground);
    c.lineTo(c.canvas.width, ground);
    const reach = c.canvas.width / 2 / unit;
    for (let x = Math.ceil(camera - reach); x < camera + reach; x += 1) {
      const at = c.canvas.width / 2 + (x - camera) * unit;
      c.moveTo(at, ground);
      c.lineTo(at, ground + (x % 5 ? 5 : 10) * ratio);
    }
    c.stroke();
    c.globalAlpha = 1;
  }

  function chart(canvas, runs, which, moment) {
    const [c, ratio] = sized(canvas, 130), look = theme();
    const all = runs.flatMap((run) => run[which]);
    const [low, high] = [Math.min(...all), Math.max(...all)], span = high - low || 1;
    const length = Math.max(...runs.map((run) => run[which].length), 2);
    const at = (i, v) => [(i / (length - 1)) * c.canvas.width, (0.06 + 0.88 * (1 - (v - low) / span)) * c.canvas.height];
    c.fillStyle = look.floor;
    c.fillRect(0, 0, c.canvas.width, c.canvas.height);
    for (const run of runs) {
      c.beginPath();
      run[which].forEach((v, i) => (i ? c.lineTo(...at(i, v)) : c.moveTo(...at(i, v))));
      Object.assign(c, { strokeStyle: COLOURS[run.name], lineWidth: 1.7 * ratio });
      c.stroke();
    }
    c.beginPath();
    c.moveTo(at(moment, low)[0], 0);
    c.lineTo(at(moment, low)[0], c.canvas.height);
    Object.assign(c, { strokeStyle: look.ink, lineWidth: ratio });
    c.stroke();
  }

  function play(on) {
    state.playing = on;
    $("race-play").textContent = on ? "Pause" : "Play";
    $("race-play").setAttribute("aria-pressed", on);
    let last = performance.now();
    const move = (now) => {
      if (!state.playing) return;
      const steps = Math.floor((now - last) / (1000 * state.found.time_step));
      if (steps) {
        last += 1000 * state.found.time_step * steps;
        state.moment += steps;
        if (state.moment >= Number($("moment").max)) { state.moment = 0; }
        paint();
      }
      requestAnimationFrame(move);
    };
    if (on) requestAnimationFrame(move);
  }

  $("race").addEventListener("click", attempt(async () => happened(await ask(`/api/boards/${await board()}/race`, {}))));
  $("race-stop").addEventListener("click", attempt(() => ask(`/api/jobs/${state.job}/stop`, {})));
  $("race-play").addEventListener("click", () => play(!state.playing));
  $("moment").addEventListener("input", () => { play(false); state.moment = Number($("moment").value); paint(); });
  new ResizeObserver(paint).observe($("panel-running"));
  onTheme(paint);
  ask("/api/state").then(({ shown = [] }) => $("race-what").append(...shown.map((name) => new Option(name, name))), alertUser);
  $("race-what").addEventListener("change", () => { $("race").textContent = $("race-what").value ? "Run" : "Learn and run"; });
  if (settings.moment) state.moment = Number(settings.moment) || 0;
  if (settings.board) ask(`/api/boards/${encodeURIComponent(settings.board)}`).then(take, alertUser);
  return { shown: () => { keep(state.board ? { board: state.board } : {}); paint(); } };
}
