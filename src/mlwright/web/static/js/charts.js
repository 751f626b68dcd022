// Line charts: drawn when they come into view, all that are due fetched in one request, sampled by the server.
import { colour, css } from "./colours.js";
import { align, extent, finite, number, smooth } from "./lines.js";
import { language } from "./words.js";

const HEIGHT = 190;
const KEYS_AT_ONCE = 40;

function span(ms) {
  const s = ms / 1000;
  if (s < 120) return `${Number(s.toPrecision(3))}s`;
  if (s < 7200) return `${Number((s / 60).toPrecision(3))}m`;
  return `${Number((s / 3600).toPrecision(3))}h`;
}

export class Board {
  // root holds figures with data-key; runs are {id, name, colour (index)}.
  constructor(root, runs) {
    this.root = root;
    this.runs = runs;
    this.hidden = new Set();
    this.settings = { axis: "step", smooth: 0, log: false, low: null, high: null };
    this.plots = new Map();
    this.due = new Set();
    this.seen = new Set();
    this.observer = new IntersectionObserver((entries) => this.moved(entries), { rootMargin: "300px 0px" });
    for (const figure of root.querySelectorAll("figure[data-key]")) this.observer.observe(figure);
    new ResizeObserver(() => this.resized()).observe(root);
    document.addEventListener("mlw:theme", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  moved(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.seen.add(target);
        if (!this.plots.get(target)?.lines) this.ask(target);
      } else this.seen.delete(target);
    }
  }

  ask(figure) {
    if (this.due.size === 0) queueMicrotask(() => this.fetchDue());
    this.due.add(figure);
  }

  refresh() {
    for (const figure of this.plots.keys()) if (!this.seen.has(figure)) this.plots.get(figure).lines = null;
    for (const figure of this.seen) this.ask(figure);
  }

  set(changes) {
    Object.assign(this.settings, changes);
    if ("axis" in changes) Object.assign(this.settings, { low: null, high: null });
    const local = Object.keys(changes).every((name) => name === "log");
    if (local) this.redraw();
    else this.refresh();
    this.root.dispatchEvent(new CustomEvent("mlw:settings", { detail: this.settings }));
  }

  url(figures) {
    const { axis, low, high } = this.settings;
    const query = new URLSearchParams({ axis, width: String(Math.max(50, Math.round(this.width(figures[0])))) });
    if (this.settings.smooth > 0) query.set("smooth", "1");
    if (low !== null) { query.set("low", low); query.set("high", high); }
    for (const run of this.runs) query.append("run", run.id);
    for (const figure of figures) query.append("key", figure.dataset.key);
    return `/series?${query}`;
  }

  async fetchDue() {
    const all = [...this.due];
    this.due.clear();
    const size = Math.max(1, Math.floor(KEYS_AT_ONCE / Math.sqrt(this.runs.length)));
    const parts = [];
    for (let at = 0; at < all.length; at += size) parts.push(all.slice(at, at + size));
    await Promise.all(parts.map((figures) => this.fetchSome(figures)));
  }

  async fetchSome(figures) {
    const answer = await fetch(this.url(figures)).catch(() => null);
    if (!answer?.ok) return;
    const series = (await answer.json()).series.map(finite);
    const byKey = Map.groupBy ? Map.groupBy(series, (line) => line.key) : group(series);
    // All widths are read before anything is drawn: reading in between would lay out the page each time.
    const widths = figures.map((figure) => this.width(figure));
    figures.forEach((figure, index) => {
      const plot = this.plots.get(figure) ?? {};
      plot.lines = byKey.get(figure.dataset.key) ?? [];
      this.plots.set(figure, plot);
      this.draw(figure, widths[index]);
    });
  }

  width(figure) {
    return figure.querySelector(".plot").clientWidth;
  }

  redraw() {
    const due = [...this.plots].filter(([, plot]) => plot.lines).map(([figure]) => [figure, this.width(figure)]);
    for (const [figure, width] of due) this.draw(figure, width);
  }

  resized() {
    for (const [figure, plot] of this.plots) {
      const width = this.width(figure);
      if (plot.chart && width && plot.chart.width !== width) plot.chart.setSize({ width, height: HEIGHT });
    }
  }

  draw(figure, width) {
    const plot = this.plots.get(figure);
    const place = figure.querySelector(".plot");
    const shown = plot.lines.filter((line) => !this.hidden.has(line.run));
    plot.chart?.destroy();
    plot.chart = null;
    figure.classList.toggle("nothing", shown.length === 0);
    if (!shown.length) return;
    const smoothed = shown.map((line) => ({ ...line, y: smooth(line.y, this.settings.smooth) }));
    const data = align(smoothed, width);
    place.replaceChildren();
    plot.chart = new window.uPlot(this.options(figure, shown, data, width), data, place);
  }

  options(figure, lines, data, width) {
    const { axis, log, low, high } = this.settings;
    const [least] = extent(data.slice(1));
    const grid = { stroke: css("--line"), width: 1 };
    const ticks = { stroke: css("--line"), width: 1, size: 4 };
    const look = { stroke: css("--muted"), font: "11px system-ui, sans-serif", grid, ticks };
    const xAxis = { ...look, size: 26, space: 60 };
    if (axis === "relative") xAxis.values = (_, values) => values.map(span);
    if (axis === "step") xAxis.values = (_, values) => values.map((value) => (Number.isInteger(value) ? compact(value) : ""));
    const index = new Map(this.runs.map((run) => [run.id, run.colour]));
    return {
      width,
      height: HEIGHT,
      ms: 1,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "x" }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, bind: { dblclick: () => () => this.set({ low: null, high: null }) } },
      scales: {
        x: { time: axis === "time", ...(low === null ? {} : { range: [low, high] }) },
        y: log ? { distr: least > 0 ? 3 : 4 } : { range: padded },
      },
      axes: [xAxis, { ...look, size: 52, values: (_, values) => values.map((value) => (value === null ? "" : compact(value))) }],
      series: [{}, ...lines.map((line) => ({
        stroke: colour(index.get(line.run) ?? 0),
        width: 1.4,
        points: { show: line.x.length < 2 || line.x.length <= 12 && lines.length < 6, size: 5 },
      }))],
      hooks: {
        setSelect: [(chart) => this.selected(chart)],
        setLegend: [(chart) => this.hovered(figure, chart, lines)],
      },
    };
  }

  selected(chart) {
    const { left, width } = chart.select;
    if (width < 4) return;
    const low = chart.posToVal(left, "x");
    const high = chart.posToVal(left + width, "x");
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.set({ low, high });
  }

  hovered(figure, chart, lines) {
    const output = figure.querySelector("output");
    output.dataset.latest ??= output.textContent;
    const at = chart.cursor.idx;
    if (at === null || at === undefined) { output.textContent = output.dataset.latest; return; }
    const x = chart.data[0][at];
    const { axis } = this.settings;
    const where = axis === "relative" ? span(x) : axis === "time" ? new Date(x).toLocaleTimeString(language) : compact(x);
    if (lines.length === 1) output.textContent = `${where}: ${number(chart.data[1][at] ?? lines[0].infinite.get(x))}`;
    else this.nearest(output, where, chart, lines, at);
  }

  // Many lines: name the one nearest to the pointer.
  nearest(output, where, chart, lines, at) {
    let best = null;
    const wanted = chart.posToVal(chart.cursor.top, "y");
    lines.forEach((line, index) => {
      const value = chart.data[index + 1][at] ?? line.infinite.get(chart.data[0][at]);
      if (value === null || value === undefined) return;
      if (best === null || Math.abs(value - wanted) < Math.abs(best.value - wanted)) best = { value, line };
    });
    const name = best && this.runs.find((run) => run.id === best.line.run)?.name;
    output.textContent = best ? `${where} ${name ?? ""}: ${number(best.value)}` : output.dataset.latest;
  }
}

function padded(_, low, high) {
  if (low === null) return [0, 1];
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const pad = (high - low) * 0.06;
  return [low - pad, high + pad];
}

function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e15 || (size < 1e-4 && size > 0)) return value.toExponential(1);
  if (size >= 1e4) return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 }).format(value);
  return String(Number(value.toPrecision(4)));
}

function group(series) {
  const found = new Map();
  for (const line of series) found.set(line.key, [...(found.get(line.key) ?? []), line]);
  return found;
}
