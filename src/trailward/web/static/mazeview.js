// The maze as a picture: what a place is worth, walls, demonstrations, plans and the ball.
import { css, pixels, theme } from "./colour.js";

const MARGIN = 0.3; // of a wall's cell that is shown around the free ones, metres

export class MazeView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    Object.assign(this, {
      grid: [[0]], map: null, image: null, drawings: [], plans: [], line: null, ball: null,
      trail: [], start: null, cursor: null, best: null, fan: null, step: 0, painting: false,
    });
    new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
  }

  setGrid(grid) {
    this.grid = grid;
    Object.assign(this, { map: null, image: null, fan: null, trail: [], ball: null, best: null, plans: [], start: null });
    this.fit();
  }

  setMap(map) {
    this.map = map;
    this.image = map ? pixels(map) : null;
    this.best = map?.best_cell ?? null;
    this.draw();
  }

  // The part of the map that is shown, in cells: all when painting, else the free ones.
  get box() {
    const rows = this.grid.length, columns = this.grid[0].length;
    if (this.painting) return [0, 0, columns, rows];
    let [x0, y0, x1, y1] = [columns, rows, 0, 0];
    this.grid.forEach((row, r) => row.forEach((cell, c) => {
      if (cell) return;
      [x0, y0, x1, y1] = [Math.min(x0, c), Math.min(y0, r), Math.max(x1, c + 1), Math.max(y1, r + 1)];
    }));
    return [x0 - MARGIN, y0 - MARGIN, x1 + MARGIN, y1 + MARGIN];
  }

  fit() {
    const [x0, y0, x1, y1] = this.box;
    const box = this.canvas.parentElement;
    const style = getComputedStyle(box);
    const room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (room <= 0) return;
    const width = Math.min(room, Math.max(280, innerHeight * 0.74) * (x1 - x0) / (y1 - y0));
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.margin = "0 auto";
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(width * ratio * (y1 - y0) / (x1 - x0));
    this.canvas.style.height = `${this.canvas.height / ratio}px`;
    this.unit = this.canvas.width / (x1 - x0);
    this.pixel = ratio;
    this.draw();
  }

  // Metres to pixels of the canvas, and back from the mouse.
  at([x, y]) {
    const [x0, y0] = this.box;
    return [(x + this.grid[0].length / 2 - x0) * this.unit, (this.grid.length / 2 - y - y0) * this.unit];
  }

  place(event) {
    const [x0, y0] = this.box;
    const frame = this.canvas.getBoundingClientRect();
    const across = ((event.clientX - frame.left) / frame.width) * this.canvas.width / this.unit + x0;
    const down = ((event.clientY - frame.top) / frame.height) * this.canvas.height / this.unit + y0;
    return [across - this.grid[0].length / 2, this.grid.length / 2 - down];
  }

  cell([x, y]) {
    return [Math.floor(this.grid.length / 2 - y), Math.floor(x + this.grid[0].length / 2)];
  }

  center([row, column]) {
    return [column + 0.5 - this.grid[0].length / 2, this.grid.length / 2 - row - 0.5];
  }

  isFree(place) {
    const [row, column] = this.cell(place);
    return this.grid[row]?.[column] === 0;
  }

  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.paint(); });
  }

  paint() {
    const { context: c, canvas } = this;
    const look = theme();
    const [x0, y0] = this.box;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = look.floor;
    c.fillRect(0, 0, canvas.width, canvas.height);
    if (this.image) {
      c.imageSmoothingEnabled = true;
      c.imageSmoothingQuality = "high";
      c.drawImage(this.image, -x0 * this.unit, -y0 * this.unit, this.grid[0].length * this.unit, this.grid.length * this.unit);
    }
    this.paintWalls(look);
    for (const drawing of this.drawings) this.paintDrawing(drawing, look);
    if (this.best) this.paintBest(look);
    if (this.plans.length) this.paintPlans(this.plans, look, () => 0.75);
    if (this.fan) this.paintFan(look);
    if (this.trail.length > 1) this.stroke(this.trail, look.ink, 3, 1, look.halo);
    if (this.line) this.stroke(this.line, look.ink, 3, 0.9, look.halo);
    if (this.start) this.ring(this.start, look, 6);
    if (this.ball) this.disc(this.ball, "#e8743b", 9, look.ink);
    if (this.cursor) this.cross(this.cursor, look);
  }

  paintWalls(look) {
    const { context: c, unit } = this;
    const [x0, y0] = this.box;
    c.fillStyle = look.wall;
    this.grid.forEach((row, r) => row.forEach((cell, k) => {
      if (cell) c.fillRect((k - x0) * unit - 0.5, (r - y0) * unit - 0.5, unit + 1, unit + 1);
    }));
    if (!this.painting) return;
    c.strokeStyle = look.wall;
    c.globalAlpha = 0.35;
    this.grid.forEach((row, r) => row.forEach((_, k) => c.strokeRect((k - x0) * unit, (r - y0) * unit, unit, unit)));
    c.globalAlpha = 1;
  }

  paintBest(look) {
    const { context: c, pixel } = this;
    const [x, y] = this.at(this.center(this.best));
    const size = 9 * pixel;
    c.beginPath();
    for (let i = 0; i < 10; i += 1) {
      const radius = i % 2 ? size * 0.42 : size, angle = -Math.PI / 2 + (i * Math.PI) / 5;
      c.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
    }
    c.closePath();
    c.fillStyle = "#fff";
    c.strokeStyle = look.wall;
    c.lineWidth = 1.5 * pixel;
    c.fill();
    c.stroke();
  }

  paintDrawing(drawing, look) {
    if (drawing.line && drawing.why) this.stroke(drawing.line, "#a11f2c", 1.5, 0.8, null, [4, 4]);
    const dash = drawing.second ? [2, 5] : [];
    this.stroke(drawing.path, look.ink, 2.2, this.fan || this.trail.length ? 0.35 : 0.9, this.fan ? null : look.halo, dash);
    this.disc(drawing.end, look.ink, 4.5, look.halo);
    if (drawing.at) this.cross(drawing.at, { ...look, ink: "#a11f2c" }, 6);
  }

  paintPlans(plans, look, opacity, chosen = -1) {
    const { context: c, pixel } = this;
    c.lineCap = "round";
    plans.forEach((plan, n) => {
      const points = plan.map((p) => this.at(p));
      const width = (n === chosen || this.bold ? 3.4 : 2) * pixel;
      c.globalAlpha = opacity(n);
      for (let i = 1; i < points.length; i += 1) {
        c.beginPath();
        c.moveTo(...points[i - 1]);
        c.lineTo(...points[i]);
        c.strokeStyle = look.halo;
        c.lineWidth = width + 2 * pixel;
        if (n === chosen) c.stroke();
        c.strokeStyle = css(look.time(i / (points.length - 1)));
        c.lineWidth = width;
        c.stroke();
      }
    });
    c.globalAlpha = 1;
  }

  paintFan(look) {
    const { steps, touches, chosen } = this.fan;
    const step = Math.min(this.step, steps.length - 1);
    const last = step === steps.length - 1;
    this.paintPlans(steps[step], look, (n) => (touches[n] ? 0.16 : 0.9), last ? chosen : -1);
  }

  stroke(path, colour, width, alpha, halo, dash = []) {
    const { context: c, pixel } = this;
    c.beginPath();
    path.forEach((p, i) => (i ? c.lineTo(...this.at(p)) : c.moveTo(...this.at(p))));
    c.lineJoin = c.lineCap = "round";
    c.setLineDash(dash.map((d) => d * pixel));
    c.globalAlpha = alpha;
    if (halo) { c.strokeStyle = halo; c.lineWidth = (width + 2.4) * pixel; c.stroke(); }
    c.strokeStyle = colour;
    c.lineWidth = width * pixel;
    c.stroke();
    c.globalAlpha = 1;
    c.setLineDash([]);
  }

  disc(place, colour, radius, edge) {
    const { context: c, pixel } = this;
    c.beginPath();
    c.arc(...this.at(place), radius * pixel, 0, 7);
    c.fillStyle = colour;
    c.strokeStyle = edge;
    c.lineWidth = 2 * pixel;
    c.fill();
    c.stroke();
  }

  ring(place, look, radius) {
    this.disc(place, "#ffffff", radius, look.ink);
  }

  cross(place, look, size = 9) {
    const { context: c, pixel } = this;
    const [x, y] = this.at(place);
    const reach = size * pixel;
    for (const [colour, width] of [[look.halo, 5], [look.ink, 2]]) {
      c.beginPath();
      c.moveTo(x - reach, y); c.lineTo(x + reach, y);
      c.moveTo(x, y - reach); c.lineTo(x, y + reach);
      c.strokeStyle = colour;
      c.lineWidth = width * pixel;
      c.stroke();
    }
  }
}
