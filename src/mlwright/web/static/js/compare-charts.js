// Overlaid charts of many runs.
import { connect } from "./chart-bar.js";
import { Board } from "./charts.js";
import { legend } from "./legend.js";

const root = document.getElementById("charts");
const names = legend((hidden) => {
  if (!board) return;
  board.hidden = hidden;
  board.redraw();
});
const ids = root ? root.dataset.runs.trim().split(" ") : [];
const board = root && new Board(root, ids.map((id, colour) => ({ id, name: names.get(id) ?? id.slice(0, 8), colour })));
if (board) connect(board);
