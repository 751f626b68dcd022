// Completing names in the query bar: a listbox below the text, driven by arrows, Enter or Tab, and Escape.
import { keys } from "./keys.js";

const MOST = 8;
const ATTRIBUTES = ["status", "run_name", "start_time", "end_time", "user_id", "run_id"].map((name) => `attributes.${name}`);
let all = null;
let shown = [];
let at = -1;

function field() {
  return document.querySelector("#filter-form input[name=filter]");
}

function list() {
  let element = document.getElementById("completions");
  if (!element) {
    element = Object.assign(document.createElement("ul"), { id: "completions", className: "completions", hidden: true });
    element.setAttribute("role", "listbox");
    field().closest("form").append(element);
    Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": "completions", "aria-expanded": "false" })
      .forEach(([name, value]) => field().setAttribute(name, value));
  }
  return element;
}

// The unquoted word before the caret.
function word(input) {
  const before = input.value.slice(0, input.selectionStart);
  if ((before.match(/'/g) ?? []).length % 2) return null;
  const found = before.match(/[\w./:`-]+$/);
  return found ? found[0] : null;
}

function written([kind, key]) {
  return /^[\w.]+$/.test(key) ? `${kind}.${key}` : `${kind}.\`${key}\``;
}

async function suggest() {
  const input = field();
  all ??= [...(await keys()).pairs.map(written), ...ATTRIBUTES];
  const text = word(input);
  const plain = text?.replaceAll("`", "").toLowerCase();
  const matches = plain ? all.filter((name) => name.replaceAll("`", "").toLowerCase().includes(plain) && name !== text) : [];
  matches.sort((a, b) => a.replaceAll("`", "").toLowerCase().indexOf(plain) - b.replaceAll("`", "").toLowerCase().indexOf(plain));
  shown = matches.slice(0, MOST);
  at = -1;
  draw();
}

function draw() {
  const element = list();
  element.hidden = shown.length === 0;
  field().setAttribute("aria-expanded", String(shown.length > 0));
  element.replaceChildren(...shown.map((name, index) => {
    const item = Object.assign(document.createElement("li"), { textContent: name, id: `completion-${index}` });
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(index === at));
    return item;
  }));
  if (at >= 0) field().setAttribute("aria-activedescendant", `completion-${at}`);
  else field().removeAttribute("aria-activedescendant");
}

function close() {
  shown = [];
  if (document.getElementById("completions")) draw();
}

function accept(name) {
  const input = field();
  const text = word(input) ?? "";
  const start = input.selectionStart - text.length;
  input.setRangeText(`${name} `, start, input.selectionStart, "end");
  close();
  input.focus();
}

document.addEventListener("input", (event) => { if (event.target === field()) suggest(); });
document.addEventListener("keydown", (event) => {
  if (event.target !== field() || !shown.length) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    at = (at + (event.key === "ArrowDown" ? 1 : -1) + shown.length + 1) % (shown.length + 1);
    if (at === shown.length) at = event.key === "ArrowDown" ? 0 : shown.length - 1;
    draw();
  } else if (event.key === "Enter" && at >= 0) accept(shown[at]);
  else if (event.key === "Tab" && !event.shiftKey) accept(shown[Math.max(at, 0)]);
  else if (event.key === "Escape") close();
  else return;
  event.preventDefault();
  event.stopPropagation();
}, true);
document.addEventListener("pointerdown", (event) => {
  const item = event.target.closest("#completions li");
  if (item) { event.preventDefault(); accept(item.textContent); }
});
document.addEventListener("focusout", (event) => { if (event.target === field()) close(); });
document.addEventListener("submit", close);
