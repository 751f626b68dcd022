// Choosing columns among thousands: the names come when the menu opens, and only what is looked for is drawn.
import { keys } from "./keys.js";
import { t } from "./words.js";

const MOST = 200;
let names = null;
let chosen = [];

function menu() {
  return document.getElementById("columns");
}

async function load() {
  const root = menu();
  if (names) return;
  chosen = [...root.querySelectorAll('input[name="column"]')].map((box) => box.value);
  const found = await keys();
  names = found.pairs;
  root.dataset.complete = found.complete;
}

function line(kind, key, checked) {
  const label = document.createElement("label");
  label.className = "check";
  const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "column", value: `${kind}.${key}`, checked });
  const tag = Object.assign(document.createElement("span"), { className: "kind", textContent: kind });
  const text = Object.assign(document.createElement("bdi"), { textContent: key, title: key });
  label.append(box, " ", tag, text);
  return label;
}

function draw() {
  const root = menu();
  const text = root.querySelector(".pick-search").value.trim().toLowerCase();
  const words = text.split(/\s+/).filter(Boolean);
  const isChosen = new Set(chosen);
  const matches = (names ?? []).filter(([kind, key]) => {
    const id = `${kind}.${key}`;
    return !isChosen.has(id) && words.every((word) => id.toLowerCase().includes(word));
  });
  const top = chosen.map((id) => line(id.slice(0, id.indexOf(".")), id.slice(id.indexOf(".") + 1), true));
  root.querySelector(".pick-list").replaceChildren(...top, ...matches.slice(0, MOST).map(([kind, key]) => line(kind, key, false)));
  const rest = matches.length - MOST;
  let note = rest > 0 ? t("{n} more: type to find them", { n: rest.toLocaleString() }) : "";
  if (root.dataset.complete === "false") note += ` ${t("Parameters and tags of the newest runs only.")}`;
  root.querySelector(".pick-more").textContent = note;
}

document.addEventListener("toggle", async (event) => {
  if (event.target !== menu() || !event.target.open) return;
  await load();
  draw();
  event.target.querySelector(".pick-search").focus();
}, true);
document.addEventListener("input", (event) => {
  if (event.target.classList.contains("pick-search")) draw();
});
document.addEventListener("change", (event) => {
  if (event.target.name !== "column" || !menu().contains(event.target)) return;
  const id = event.target.value;
  chosen = event.target.checked ? [...chosen, id] : chosen.filter((each) => each !== id);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.classList?.contains("pick-search")) {
    event.preventDefault();
    const first = [...menu().querySelectorAll('input[name="column"]')].find((box) => !box.checked);
    first?.click();
  }
});
