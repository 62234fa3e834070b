// Tracks on a plane: everybody in grey, those of interest in ink, the map behind, a scale bar.
import { css, pixels, theme } from "./colour.js";

export class TrackView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    Object.assign(this, { tracks: [], some: [], map: null, image: null, plans: [], walls: [], wall: null, loop: null, unit: "", extent: [0, 1, 0, 1] });
    new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
  }

  setTracks(tracks, some, unit) {
    Object.assign(this, { tracks, some, unit });
    const all = tracks.flatMap((t) => t.path);
    if (!all.length) return;
    const [xs, ys] = [0, 1].map((axis) => all.map((p) => p[axis]));
    const bounds = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const pad = ([low, high]) => { const room = 0.04 * (high - low) || 0.5; return [low - room, high + room]; };
    this.extent = [...pad(bounds(xs)), ...pad(bounds(ys))];
    this.fit();
  }

  setMap(map) {
    this.map = map;
    this.image = map ? pixels(map) : null;
    this.draw();
  }

  fit() {
    const [left, right, bottom, top] = this.extent;
    const box = this.canvas.parentElement, style = getComputedStyle(box);
    const room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (room <= 0) return;
    const shape = Math.min(Math.max((top - bottom) / (right - left), 0.3), 1.4);
    const width = Math.min(room, (innerHeight * 0.74) / shape), ratio = Math.min(devicePixelRatio || 1, 2);
    this.pixel = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(width * ratio * shape);
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${this.canvas.height / ratio}px`, margin: "0 auto" });
    this.zoom = Math.min(this.canvas.width / (right - left), this.canvas.height / (top - bottom));
    this.shift = [(this.canvas.width - (right - left) * this.zoom) / 2, (this.canvas.height - (top - bottom) * this.zoom) / 2];
    this.draw();
  }

  at([x, y]) {
    const [left, , , top] = this.extent;
    return [this.shift[0] + (x - left) * this.zoom, this.shift[1] + (top - y) * this.zoom];
  }

  place(event) {
    const frame = this.canvas.getBoundingClientRect(), [left, , , top] = this.extent;
    const across = ((event.clientX - frame.left) / frame.width) * this.canvas.width;
    const down = ((event.clientY - frame.top) / frame.height) * this.canvas.height;
    return [left + (across - this.shift[0]) / this.zoom, top - (down - this.shift[1]) / this.zoom];
  }

  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.paint(); });
  }

  paint() {
    const { context: c, canvas } = this, look = theme();
    c.fillStyle = look.floor;
    c.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.tracks.length) { this.invite(look); return; }
    if (this.image) {
      const [left, right, bottom, top] = this.map.extent;
      const [x, y] = this.at([left, top]), [x1, y1] = this.at([right, bottom]);
      c.imageSmoothingQuality = "high";
      c.drawImage(this.image, x, y, x1 - x, y1 - y);
    }
    for (const { path } of this.tracks) this.line(path, look.ink, 1, this.image ? 0.1 : 0.22);
    for (const { path } of this.some) {
      this.line(path, look.halo, 4, 0.9);
      this.line(path, look.ink, 1.8, 0.95);
      this.dot(path.at(-1), look);
    }
    for (const plan of this.plans) plan.slice(1).forEach((p, i) => this.line([plan[i], p], css(look.time(i / (plan.length - 1))), 2, 0.9));
    for (const wall of this.walls) this.line(wall, look.wall, 3, 1);
    if (this.wall) this.line(this.wall, "#e8743b", 3, 1);
    if (this.loop) this.line([...this.loop, this.loop[0]], "#e8743b", 2, 1);
    this.scaleBar(look);
  }

  invite(look) {
    const { context: c, canvas, pixel } = this;
    c.fillStyle = look.ink;
    c.globalAlpha = 0.6;
    c.font = `${16 * pixel}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.fillText("Recorded tracks appear here", canvas.width / 2, canvas.height / 2);
    c.globalAlpha = 1;
  }

  line(path, colour, width, alpha) {
    const { context: c } = this;
    c.beginPath();
    path.forEach((p, i) => (i ? c.lineTo(...this.at(p)) : c.moveTo(...this.at(p))));
    Object.assign(c, { strokeStyle: colour, lineWidth: width * this.pixel, globalAlpha: alpha, lineJoin: "round", lineCap: "round" });
    c.stroke();
    c.globalAlpha = 1;
  }

  dot(place, look) {
    const { context: c } = this;
    c.beginPath();
    c.arc(...this.at(place), 3.5 * this.pixel, 0, 7);
    Object.assign(c, { fillStyle: look.ink, strokeStyle: look.halo, lineWidth: 1.5 * this.pixel });
    c.fill();
    c.stroke();
  }

  scaleBar(look) {
    const { context: c, canvas, pixel } = this;
    const room = (0.25 * canvas.width) / this.zoom, power = 10 ** Math.floor(Math.log10(room));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= room) ?? power;
    const [x, y] = [14 * pixel, canvas.height - 14 * pixel];
    for (const [colour, width] of [[look.halo, 6], [look.ink, 2]]) {
      c.beginPath();
      c.moveTo(x, y - 5 * pixel); c.lineTo(x, y); c.lineTo(x + length * this.zoom, y); c.lineTo(x + length * this.zoom, y - 5 * pixel);
      Object.assign(c, { strokeStyle: colour, lineWidth: width * pixel });
      c.stroke();
    }
    Object.assign(c, { fillStyle: look.ink, strokeStyle: look.halo, lineWidth: 4 * pixel, textAlign: "left", font: `${13 * pixel}px system-ui, sans-serif` });
    const text = `${Number(length.toPrecision(3))} ${this.unit}`.trim();
    c.strokeText(text, x + 4 * pixel, y - 9 * pixel);
    c.fillText(text, x + 4 * pixel, y - 9 * pixel);
  }
}
