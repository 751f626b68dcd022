// Arithmetic of lines: smoothing, and one common x for many runs.

// Exponential moving average without the bias of a zero start. Gaps stay gaps.
export function smooth(values, weight) {
  if (weight <= 0) return values;
  let last = 0;
  let count = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    last = last * weight + (1 - weight) * value;
    count += 1;
    return last / (1 - weight ** count);
  });
}

// Protocols without infinities write the largest numbers instead.
const INFINITE = 1.7e308;

export function isInfinite(value) {
  return typeof value === "number" && Math.abs(value) >= INFINITE;
}

// The line with gaps for its infinite values, which no axis has a place for; `infinite` has them by their x.
export function finite(line) {
  const infinite = new Map();
  line.y.forEach((value, index) => { if (isInfinite(value)) infinite.set(line.x[index], value); });
  return { ...line, infinite, y: infinite.size ? line.y.map((value) => (isInfinite(value) ? null : value)) : line.y };
}

// Columns for uPlot: one sorted x for all lines; `undefined` where a line has no point there.
// Too many different x are brought onto a grid finer than the pixels.
export function align(lines, width) {
  if (lines.length === 1) return [lines[0].x, lines[0].y];
  const most = 4 * width;
  let all = new Set();
  for (const line of lines) for (const x of line.x) all.add(x);
  let place = (x) => x;
  if (all.size > most) {
    const sorted = [...all].sort((a, b) => a - b);
    const low = sorted[0];
    const step = (sorted.at(-1) - low) / (2 * width) || 1;
    place = (x) => low + Math.round((x - low) / step) * step;
    all = new Set(sorted.map(place));
  }
  const xs = [...all].sort((a, b) => a - b);
  const at = new Map(xs.map((x, index) => [x, index]));
  const columns = lines.map((line) => {
    const column = new Array(xs.length);
    line.x.forEach((x, index) => { column[at.get(place(x))] = line.y[index]; });
    return column;
  });
  return [xs, ...columns];
}

export function extent(columns) {
  let low = Infinity;
  let high = -Infinity;
  for (const column of columns) {
    for (const value of column) {
      if (value === null || value === undefined) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [0, 1];
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (isInfinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return String(value);
  return size !== 0 && (size >= 1e6 || size < 1e-4) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}
