// The charts of one run. While it runs, new metrics get new charts and drawn ones stay.
import { connect } from "./chart-bar.js";
import { Board } from "./charts.js";

const root = document.getElementById("charts");
const board = root && new Board(root, [{ id: root.dataset.runs, name: "", colour: 0 }]);
if (board) connect(board);

function adopt(fresh) {
  const place = fresh.getElementById("charts");
  const singles = fresh.getElementById("singles");
  const old = document.getElementById("singles");
  if (old && singles) old.replaceWith(singles);
  else old?.remove();
  if (!place || place.querySelectorAll("figure").length === root.querySelectorAll("figure").length) return;
  for (const figure of place.querySelectorAll("figure")) {
    const drawn = document.getElementById(figure.id);
    if (drawn) figure.replaceWith(drawn);
    else board.observer.observe(figure);
  }
  for (const group of place.querySelectorAll("details.group")) {
    const same = [...root.children].find((each) => each.dataset.group === group.dataset.group);
    if (same) group.open = same.open;
  }
  root.replaceChildren(...place.children);
}

document.addEventListener("mlw:changed", ({ detail: fresh }) => {
  if (!board) {
    if (fresh.getElementById("charts")) location.reload();
    return;
  }
  adopt(fresh);
  board.refresh();
});
