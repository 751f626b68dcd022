// The charts of one run. While it runs, new metrics get new charts and drawn ones stay.
import { connect } from "./chart-bar.js";
import { Board } from "./charts.js";
import { morph } from "./morph.js";

const root = document.getElementById("charts");
const board = root && new Board(root, [{ id: root.dataset.runs, name: "", colour: 0 }]);
const filter = board && connect(board);

function adopt(place) {
  for (const figure of place.querySelectorAll("figure")) {
    const drawn = document.getElementById(figure.id)?.querySelector("output");
    if (drawn) drawn.textContent = drawn.dataset.latest = figure.querySelector("output").textContent;
  }
  delete root.dataset.own;
  morph(root, place);
  root.dataset.own = "";
  for (const figure of root.querySelectorAll("figure")) board.observer.observe(figure);
  filter?.();
}

document.addEventListener("mlw:changed", ({ detail: fresh }) => {
  if (!board) {
    if (document.getElementById("charts")) location.reload();
    return;
  }
  const place = fresh.getElementById("charts");
  if (place) adopt(place);
  board.refresh();
});
