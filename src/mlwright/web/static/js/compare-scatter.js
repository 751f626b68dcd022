// Two values of each run as a point; a third as its colour, or as the contour behind the points.
import { legend } from "./legend.js";
import { load, look, options, ramp, recalled, remember, scale, start } from "./plane.js";
import { number } from "./lines.js";
import { t } from "./words.js";

const CELLS = 44;
const LEVELS = 10;
// Columns that are tried for the first picture.
const TRIED = 40;
legend(() => {});
const data = document.getElementById("compare-data") ? load() : { runs: [], columns: [] };
const byId = new Map(data.columns.map((each) => [each.id, each]));
const pick = Object.fromEntries(["x-by", "y-by", "colour-by"].map((id) => [id, document.getElementById(id)]));
const contour = document.getElementById("contour");
let chart;

function axis(column, theme, where) {
  const common = {
    name: column.key, nameLocation: "middle", nameGap: where === "x" ? 30 : 52, nameTextStyle: { color: theme.muted },
    axisLabel: { color: theme.muted, hideOverlap: true }, axisLine: { lineStyle: { color: theme.muted } }, splitLine: { lineStyle: { color: theme.line } },
  };
  if (!column.numeric) return { ...common, type: "category", data: column.categories };
  return { ...common, type: column.log ? "log" : "value", scale: true };
}

function position(column, value) {
  if (value === null) return null;
  if (!column.numeric) return column.categories.indexOf(value);
  return column.log ? Math.log10(value) : value;
}

// Inverse distance weighting of the runs' values on a grid, in steps: areas of one shade are the contour.
function surface(x, y, points, low, high) {
  const xs = points.map((each) => each.x);
  const ys = points.map((each) => each.y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const [dx, dy] = [(x1 - x0) / CELLS || 1, (y1 - y0) / CELLS || 1];
  const edges = (column, from, step) => Array.from({ length: CELLS + 1 }, (_, at) => (column.log ? 10 ** (from + at * step) : from + at * step));
  const [across, up] = [edges(x, x0, dx), edges(y, y0, dy)];
  const cells = [];
  for (let i = 0; i < CELLS; i += 1) {
    for (let j = 0; j < CELLS; j += 1) {
      const [cx, cy] = [x0 + (i + 0.5) * dx, y0 + (j + 0.5) * dy];
      let weight = 0;
      let total = 0;
      for (const point of points) {
        const distance = ((point.x - cx) / (x1 - x0 || 1)) ** 2 + ((point.y - cy) / (y1 - y0 || 1)) ** 2 + 1e-6;
        weight += 1 / distance ** 1.5;
        total += point.z / distance ** 1.5;
      }
      const level = Math.round(((total / weight - low) / (high - low || 1)) * LEVELS) / LEVELS;
      // Neighbours share the very same edge: two computed ones may round to pixels apart.
      cells.push([across[i], up[j], low + level * (high - low), across[i + 1], up[j + 1]]);
    }
  }
  return cells;
}

function cell(_, api) {
  const from = api.coord([api.value(0), api.value(1)]);
  const to = api.coord([api.value(3), api.value(4)]);
  return { type: "rect", shape: { x: Math.round(from[0]), y: Math.round(to[1]), width: Math.round(to[0]) - Math.round(from[0]), height: Math.round(from[1]) - Math.round(to[1]) }, style: { fill: api.visual("color"), opacity: 0.55 } };
}

function draw(made) {
  chart = made;
  const theme = look();
  const [x, y, z] = ["x-by", "y-by", "colour-by"].map((id) => byId.get(pick[id].value));
  if (!x || !y || !z) return;
  const { places, low, high } = scale(z);
  const points = data.runs
    .map((run, at) => ({ run, at, raw: [x.values[at], y.values[at]], x: position(x, x.values[at]), y: position(y, y.values[at]), z: places[at] }))
    .filter((each) => each.x !== null && each.y !== null);
  tell(points.length, x, y);
  const shaded = points.filter((each) => each.z !== null);
  const canContour = x.numeric && y.numeric && z.numeric && shaded.length > 2;
  contour.disabled = !canContour;
  const series = [{
    type: "scatter", symbolSize: points.length > 200 ? 7 : 10, itemStyle: { borderColor: theme.panel, borderWidth: 1 },
    data: points.map((each) => ({
      value: [...each.raw, each.z ?? "-"], run: each.run, at: each.at,
      ...(each.z === null ? { visualMap: false, itemStyle: { color: theme.muted } } : {}),
    })), z: 3,
  }];
  if (contour.checked && canContour) series.unshift({ type: "custom", renderItem: cell, data: surface(x, y, shaded, low, high), silent: true, z: 1, clip: true });
  chart.setOption({
    animation: false,
    grid: { left: 76, right: 96, top: 20, bottom: 50 },
    xAxis: axis(x, theme, "x"),
    yAxis: axis(y, theme, "y"),
    visualMap: { type: "continuous", min: low, max: high, dimension: 2, right: 6, top: "middle", inRange: { color: ramp() }, textStyle: { color: theme.muted }, text: [z.key.slice(0, 14), ""], itemHeight: 140, itemWidth: 10, precision: 3 },
    tooltip: { backgroundColor: theme.panel, borderColor: theme.line, textStyle: { color: theme.text }, formatter: ({ data: point }) => tip(point, x, y, z) },
    series,
  }, true);
  remember([["x", x.id], ["y", y.id], ["colour", z.id], ["contour", contour.checked ? "1" : "0"]]);
}

function tip(point, x, y, z) {
  const box = document.createElement("div");
  const show = (value) => (typeof value === "number" ? number(value) : value ?? "–");
  const lines = [point.run.name, ...[x, y, z].map((column) => `${column.key}: ${show(column.raw[point.at])}`)];
  for (const text of lines) box.append(Object.assign(document.createElement("div"), { textContent: text }));
  return box;
}

function tell(shown, x, y) {
  const all = data.runs.length;
  let text = "";
  if (shown === 0) text = t("No run has both {x} and {y}.", { x: x.key, y: y.key });
  else if (shown < all) text = t("{n} of {all} runs have both {x} and {y}.", { n: shown, all, x: x.key, y: y.key });
  document.getElementById("shown").textContent = text;
}

// The first two columns, in the order of preference, that the most runs have both of; then the third that these have.
function first(params, metrics) {
  const has = (columns) => data.runs.filter((_, at) => columns.every((each) => each.values[at] !== null)).length;
  const most = (choices) => {
    const counts = choices.map(has);
    return choices[counts.indexOf(Math.max(...counts))];
  };
  const tried = [...params, ...metrics, ...data.columns].slice(0, TRIED);
  const others = [...params.slice(1), ...metrics, ...data.columns].slice(0, TRIED);
  const pairs = tried.flatMap((x) => others.filter((y) => y !== x).map((y) => [x, y]));
  const pair = most(pairs.length ? pairs : [[tried[0], tried[0]]]);
  const rest = [...metrics, ...tried].filter((each) => !pair.includes(each));
  return most((rest.length ? rest : [tried[0]]).map((z) => [...pair, z]));
}

if (data.columns.length && contour) {
  const state = recalled();
  const params = data.columns.filter((each) => each.kind === "params" && each.numeric && each.differs);
  const metrics = data.columns.filter((each) => each.kind === "metrics");
  const [x, y, z] = first(params, metrics);
  options(pick["x-by"], data.columns, state.get("x") ?? x.id);
  options(pick["y-by"], data.columns, state.get("y") ?? y.id);
  options(pick["colour-by"], data.columns, state.get("colour") ?? z.id);
  contour.checked = state.get("contour") === "1";
  for (const control of [...Object.values(pick), contour]) control.addEventListener("change", () => draw(chart));
  start(draw);
  chart?.on("click", ({ data: point }) => { if (point.run) location.href = `/runs/${point.run.run_id}`; });
}
