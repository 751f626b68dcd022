// The runs table: choosing rows, live rows, keyboard.
import { fetchPart, live } from "./live.js";
import { localize } from "./times.js";
import { t } from "./words.js";
import "./complete.js";
import "./picker.js";

let lastBox = null;

function boxes() {
  return [...document.querySelectorAll('#bulk input[name="run"]')];
}

function show() {
  const all = boxes();
  // After a wrong filter only the problem is new; the table stays.
  if (document.querySelector("#problem [role=alert]")) document.querySelector("input[name=filter]").setAttribute("aria-invalid", "true");
  const chosen = all.filter((box) => box.checked);
  for (const box of all) box.closest("tr").classList.toggle("selected", box.checked);
  for (const button of document.querySelectorAll("#bulk [data-needs]")) {
    button.disabled = chosen.length < Number(button.dataset.needs);
  }
  const label = document.getElementById("chosen");
  if (label) {
    label.dataset.total ??= label.textContent;
    label.textContent = chosen.length ? t("{n} chosen", { n: chosen.length }) : label.dataset.total;
  }
  const head = document.getElementById("all");
  if (head) {
    head.hidden = false;
    head.checked = all.length > 0 && chosen.length === all.length;
    head.indeterminate = chosen.length > 0 && chosen.length < all.length;
  }
}

function clicked(event) {
  const box = event.target;
  if (box.id === "all") {
    for (const each of boxes()) each.checked = box.checked;
  } else if (box.name === "run" && event.shiftKey && lastBox) {
    const all = boxes();
    const [from, to] = [all.indexOf(lastBox), all.indexOf(box)].sort((a, b) => a - b);
    for (const each of all.slice(Math.max(0, from), to + 1)) each.checked = box.checked;
  } else if (box.name !== "run") return;
  if (box.name === "run") lastBox = box;
  show();
}

function keys(event) {
  if (event.target.closest("input:not([type=checkbox]), textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = [...document.querySelectorAll("table.runs tbody tr")];
  if (!rows.length || !["j", "k", "x"].includes(event.key)) return;
  const at = rows.indexOf(document.activeElement?.closest("tr"));
  if (event.key === "x") {
    const box = rows[at]?.querySelector('input[name="run"]');
    if (box) { box.checked = !box.checked; show(); }
    return;
  }
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))];
  next.querySelector("th.name a:last-of-type").focus();
  next.scrollIntoView({ block: "nearest" });
}

// Rows that changed are replaced one by one: chosen boxes, focus and the scroll position stay.
async function refresh() {
  const fresh = await fetchPart("table.runs tbody");
  const body = document.querySelector("table.runs tbody");
  if (!body || !fresh) {
    if (fresh) location.reload();
    return;
  }
  const focused = document.activeElement?.closest("tr")?.id;
  localize(fresh);
  const rows = [...fresh.rows].map((row) => {
    const old = document.getElementById(row.id);
    if (!old) { row.classList.add("fresh"); return row; }
    const box = row.querySelector('input[name="run"]');
    if (box) box.checked = old.querySelector('input[name="run"]')?.checked ?? false;
    return plain(old) === plain(row) ? old : row;
  });
  body.replaceChildren(...rows);
  if (focused) document.getElementById(focused)?.querySelector("th.name a")?.focus({ preventScroll: true });
  show();
}

function plain(row) {
  return [...row.cells].map((cell) => cell.textContent).join("\u0000");
}

document.addEventListener("click", clicked);
document.addEventListener("keydown", keys);
document.addEventListener("htmx:after:swap", show);
show();
const board = document.getElementById("runs");
if (board?.dataset.live) live(board.dataset.live, refresh);
