// What parallel coordinates and scatter share: the values of runs as numbers or categories.
import { css, isDark } from "./colours.js";
import { isInfinite } from "./lines.js";

export function load() {
  const data = JSON.parse(document.getElementById("compare-data").textContent);
  const columns = [];
  for (const line of data.params) columns.push(column("params", line));
  for (const line of data.metrics) columns.push(column("metrics", line));
  return { runs: data.runs, columns: columns.filter((each) => each.values.some((value) => value !== null)) };
}

function column(kind, { key, values, differs }) {
  const present = values.filter((value) => value !== null);
  const numbers = values.map((value) => (value === null || value === "" ? null : Number(value)));
  const numeric = present.length > 0 && numbers.every((value, index) => values[index] === null || Number.isFinite(value));
  const found = { id: `${kind}.${key}`, kind, key, numeric, differs, raw: values };
  if (numeric) {
    // An infinite value has no place on an axis.
    const placed = numbers.map((value) => (isInfinite(value) ? null : value));
    return { ...found, values: placed, log: kind === "params" && spread(placed) };
  }
  const categories = [...new Set(present.map(String))].sort();
  return { ...found, values: values.map((value) => (value === null ? null : String(value))), categories };
}

// Learning rates and the like: positive values over three orders of magnitude are drawn logarithmically.
function spread(values) {
  const present = values.filter((value) => value !== null);
  const low = Math.min(...present);
  return present.length > 0 && low > 0 && Math.max(...present) / low >= 1000;
}

export function look() {
  return { text: css("--text"), muted: css("--muted"), line: css("--line"), panel: css("--raised"), dark: isDark() };
}

export function ramp() {
  return isDark() ? ["#3b4cc0", "#5da9e9", "#7fd8be", "#f2cc60", "#ff8f6b"] : ["#3b4cc0", "#2a9d8f", "#a3b92c", "#e9a23b", "#c8443a"];
}

// The values as places on a scale, and its ends; categories count from 0.
export function scale(column) {
  const places = column.numeric ? column.values : column.values.map((value) => (value === null ? null : column.categories.indexOf(value)));
  const known = places.filter((value) => value !== null);
  const low = known.length ? Math.min(...known) : 0;
  const high = known.length ? Math.max(...known) : 1;
  return { places, low, high: high === low ? low + 1 : high };
}

export function options(select, columns, chosen) {
  select.replaceChildren(...columns.map((each) => new Option(each.key, each.id, false, each.id === chosen)));
}

export function start(draw) {
  const place = document.getElementById("plane");
  if (!place || !document.getElementById("compare-data")) return;
  const chart = window.echarts.init(place, null, { renderer: "canvas" });
  new ResizeObserver(() => chart.resize()).observe(place);
  document.addEventListener("mlw:theme", () => draw(chart));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(chart));
  draw(chart);
}

export function remember(values) {
  const query = new URLSearchParams(values);
  history.replaceState(null, "", `${location.pathname}${location.search}#${query}`);
}

export function recalled() {
  return new URLSearchParams(location.hash.slice(1));
}
