// The charts of one run.
import { connect } from "./chart-bar.js";
import { Board } from "./charts.js";

const root = document.getElementById("charts");
if (root) {
  const board = new Board(root, [{ id: root.dataset.runs, name: "", colour: 0 }]);
  connect(board);
  document.addEventListener("mlw:changed", () => board.refresh());
}
