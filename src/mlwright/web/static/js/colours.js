// Colours of canvases: read from the style sheet, so that both themes have one source.
const LIGHT = ["#4450c8", "#d9730d", "#0f8a5f", "#c13d6b", "#7a5af5", "#b58105", "#0b86b5", "#8a4b2d", "#5f6b7a", "#2f7d32"];
const DARK = ["#98a2ff", "#ffa657", "#56d4a0", "#ff8fb3", "#c4b0ff", "#f2cc60", "#6cc8f0", "#d8a48a", "#aeb6c2", "#8ddb8c"];

const known = new Map();

export function css(name) {
  // Asking the browser forces it to compute styles: once per colour and theme is enough.
  const key = `${name} ${isDark()}`;
  if (!known.has(key)) known.set(key, computed(name));
  return known.get(key);
}

function computed(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

export function colour(index) {
  const palette = isDark() ? DARK : LIGHT;
  return palette[index % palette.length];
}
