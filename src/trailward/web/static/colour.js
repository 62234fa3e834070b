// Colours: a warm scale for what a place is worth, a cool one for time.

const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const scale = (...stops) => {
  const colours = stops.map(parse);
  return (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    return colours[low].map((c, i) => Math.round(c + (at - low) * (colours[low + 1][i] - c)));
  };
};

const LIGHT = {
  worth: scale("#fbf8f0", "#f8e6bb", "#f3bd6b", "#e58440", "#bd4a2d", "#7c2234"),
  time: scale("#3bb8c4", "#2673b8", "#1f2f7a"),
  halo: "rgba(255,255,255,.85)", ink: "#16202e", wall: "#39424e", floor: "#f4f1ea",
};
const DARK = {
  worth: scale("#1a2029", "#3a2447", "#74305c", "#b8484f", "#ea8545", "#f9cf73", "#fdf4cf"),
  time: scale("#c9f3ff", "#6cb6ff", "#5b7cff"),
  halo: "rgba(12,15,20,.8)", ink: "#ffffff", wall: "#55606e", floor: "#1d242e",
};
const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = () => (dark.matches ? DARK : LIGHT);
export const onTheme = (action) => dark.addEventListener("change", action);
export const css = ([r, g, b], alpha = 1) => `rgba(${r},${g},${b},${alpha})`;

// A picture of bytes: one for each pixel, from 1, lowest, to 255. What is 0 is blank and lets
// through what is behind.
export function pixels({ levels, width, height }) {
  const bytes = Uint8Array.from(atob(levels), (c) => c.charCodeAt(0));
  const { worth } = theme();
  const table = Array.from({ length: 256 }, (_, level) => worth((level - 1) / 254));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < bytes.length; i += 1) {
    [image.data[4 * i], image.data[4 * i + 1], image.data[4 * i + 2]] = table[bytes[i]];
    image.data[4 * i + 3] = bytes[i] ? 255 : 0;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

export function paintScale(canvas) {
  const context = canvas.getContext("2d");
  const { worth } = theme();
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = css(worth(x / (canvas.width - 1)));
    context.fillRect(x, 0, 1, canvas.height);
  }
}
