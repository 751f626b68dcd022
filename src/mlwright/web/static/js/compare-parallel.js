// Parallel coordinates: one line per run.
import { legend } from "./legend.js";
import { load, look, options, ramp, recalled, remember, scale, start } from "./plane.js";
import { number } from "./lines.js";
import { t } from "./words.js";

const AXES = 7;
const NONE = t("none");
// How far below its axis the place of the runs without a value lies.
const BELOW = 0.12;
legend(() => {});
const data = document.getElementById("compare-data") ? load() : { runs: [], columns: [] };
const state = recalled();
let chosen = state.getAll("axis");
if (!chosen.length) {
  const params = data.columns.filter((each) => each.kind === "params" && each.differs && (each.numeric || each.categories.length <= 20));
  const metrics = data.columns.filter((each) => each.kind === "metrics" && each.differs);
  chosen = [...params.slice(0, AXES - Math.min(3, metrics.length)), ...metrics.slice(0, 3)].map((each) => each.id);
}
const byId = new Map(data.columns.map((each) => [each.id, each]));
const picker = document.getElementById("colour-by");
let chart;

function axis(column, index, theme) {
  const common = {
    dim: index, name: column.key.length > 22 ? `${column.key.slice(0, 21)}…` : column.key, nameTextStyle: { color: theme.text, fontSize: 12 },
    axisLine: { lineStyle: { color: theme.muted } }, axisLabel: { color: theme.muted, fontSize: 11 },
    areaSelectStyle: { width: 18, color: theme.muted, opacity: 0.25, borderWidth: 0 },
  };
  const none = nowhere(column);
  if (!column.numeric) return { ...common, type: "category", data: none === null ? column.categories : [NONE, ...column.categories] };
  const kind = column.log ? "log" : "value";
  if (none === null) return { ...common, type: kind, scale: true };
  const { low, high } = scale(column);
  const label = (value) => (value < low - (low - none) / 2 ? NONE : value < low ? "" : number(value));
  return { ...common, type: kind, min: none, max: high, axisLabel: { ...common.axisLabel, showMinLabel: true, formatter: label } };
}

// Where an axis shows the runs without a value, so that no line claims one for them; null if each run has one.
function nowhere(column) {
  if (column.values.every((value) => value !== null)) return null;
  if (!column.numeric) return NONE;
  const { low, high } = scale(column);
  return column.log ? low * (low / high) ** BELOW : low - (high - low) * BELOW;
}

function draw(made) {
  chart = made;
  const theme = look();
  const columns = chosen.map((id) => byId.get(id)).filter(Boolean);
  if (!columns.length) { chart.clear(); return; }
  const colour = byId.get(picker.value) ?? columns.at(-1);
  const shade = scale(colour);
  const none = columns.map(nowhere);
  const last = columns.length;
  chart.setOption({
    animation: false,
    parallel: { left: 60, right: 150, top: 46, bottom: 28 },
    parallelAxis: columns.map((column, index) => axis(column, index, theme)),
    visualMap: {
      show: true, type: "continuous", min: shade.low, max: shade.high, dimension: last, right: 4, top: "middle",
      inRange: { color: ramp() }, textStyle: { color: theme.muted }, itemHeight: 120, itemWidth: 10, text: [colour.key.slice(0, 14), ""], precision: 3,
    },
    series: [{
      type: "parallel", lineStyle: { width: data.runs.length > 100 ? 1 : 1.8, opacity: data.runs.length > 200 ? 0.4 : 0.75 },
      inactiveOpacity: 0.04, activeOpacity: 0.9,
      data: data.runs.map((run, at) => ({
        name: run.name, value: [...columns.map((column, index) => column.values[at] ?? none[index]), shade.places[at] ?? "-"],
        ...(shade.places[at] === null ? { visualMap: false, lineStyle: { color: theme.muted } } : {}),
      })),
    }],
  }, true);
  remember([...chosen.map((id) => ["axis", id]), ["colour", colour.id]]);
}

function kept() {
  const columns = chosen.length;
  const series = chart.getModel?.().getSeriesByIndex(0);
  const indices = series?.getRawIndicesByActiveState?.("active") ?? [];
  const text = indices.length && indices.length < data.runs.length && columns
    ? `${t("{n} runs kept", { n: indices.length })}: ${indices.slice(0, 12).map((at) => data.runs[at].name).join(", ")}${indices.length > 12 ? " …" : ""}` : "";
  document.getElementById("kept").textContent = text;
}

if (data.runs.length && document.getElementById("plane")) {
  const list = document.getElementById("axes");
  for (const column of data.columns) {
    const label = document.createElement("label");
    label.className = "check";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: column.id, checked: chosen.includes(column.id) });
    const name = Object.assign(document.createElement("bdi"), { textContent: column.key });
    label.append(box, " ", name);
    list.append(label);
  }
  list.addEventListener("change", (event) => {
    const id = event.target.value;
    chosen = event.target.checked ? [...chosen, id] : chosen.filter((each) => each !== id);
    draw(chart);
  });
  options(picker, data.columns, state.get("colour") ?? chosen.at(-1));
  picker.addEventListener("change", () => draw(chart));
  start(draw);
  chart?.on("axisareaselected", kept);
}
