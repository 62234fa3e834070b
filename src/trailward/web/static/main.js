// The page: tabs, the address that holds what is shown, and the messages at the top.
import { quietAlert } from "./server.js";
import { openAsk } from "./ask.js";
import { openMaze } from "./maze.js";
import { openRunning } from "./running.js";
import { openTracks } from "./tracks.js";

const TABS = { maze: openMaze, ask: openAsk, tracks: openTracks, running: openRunning };
const opened = new Map();
const shared = { drawn: null }; // the board of the maze, which questions are about

// What is shown stands behind '#' in the address, so that it can be sent to somebody.
export const place = {
  read() {
    const [tab, rest = ""] = location.hash.slice(1).split("?");
    return { tab: TABS[tab] ? tab : "maze", settings: Object.fromEntries(new URLSearchParams(rest)) };
  },
  write(tab, settings) {
    const rest = new URLSearchParams(settings).toString();
    history.replaceState(null, "", `#${tab}${rest ? `?${rest}` : ""}`);
  },
};

function show(tab, settings) {
  quietAlert();
  for (const button of document.querySelectorAll("[role=tab]")) {
    const chosen = button.id === `tab-${tab}`;
    button.setAttribute("aria-selected", chosen);
    button.tabIndex = chosen ? 0 : -1;
    document.getElementById(button.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (!opened.has(tab)) {
    opened.set(tab, TABS[tab](settings, (kept) => place.write(tab, kept), shared));
  } else {
    opened.get(tab).shown?.();
  }
}

const buttons = [...document.querySelectorAll("[role=tab]")].filter((b) => TABS[b.id.slice(4)]);
for (const other of document.querySelectorAll("[role=tab]")) other.hidden = !buttons.includes(other);
buttons.forEach((button, index) => {
  button.addEventListener("click", () => { show(button.id.slice(4), {}); });
  button.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = buttons[(index + move + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
});
document.querySelector("#alert button").addEventListener("click", quietAlert);

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
addEventListener("hashchange", () => location.reload()); // an address that was pasted

const first = place.read();
show(first.tab, first.settings);
