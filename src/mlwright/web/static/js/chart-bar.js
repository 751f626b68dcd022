// The settings above charts; kept in the address, so that a shared link shows the same. Returns what hides the charts
// that are not looked for.
export function connect(board) {
  const form = document.getElementById("chart-bar");
  if (!form) return null;
  form.hidden = false;
  const state = new URLSearchParams(location.hash.slice(1).includes("=") ? location.hash.slice(1) : "");
  const { smooth, axis, log, find, reset } = form.elements;
  smooth.value = state.get("smooth") ?? "0";
  axis.value = state.get("axis") ?? "step";
  log.checked = state.get("log") === "1";
  find.value = state.get("find") ?? "";
  const initial = { smooth: Number(smooth.value), axis: axis.value, log: log.checked };
  Object.assign(board.settings, initial, {
    low: state.has("low") ? Number(state.get("low")) : null,
    high: state.has("high") ? Number(state.get("high")) : null,
  });
  show();
  filter();

  function show() {
    form.querySelector("output").textContent = smooth.value;
    reset.hidden = board.settings.low === null;
  }

  function remember() {
    const query = new URLSearchParams();
    const { low, high } = board.settings;
    if (Number(smooth.value)) query.set("smooth", smooth.value);
    if (axis.value !== "step") query.set("axis", axis.value);
    if (log.checked) query.set("log", "1");
    if (find.value) query.set("find", find.value);
    if (low !== null) { query.set("low", low); query.set("high", high); }
    history.replaceState(null, "", `${location.pathname}${location.search}${query.size ? `#${query}` : ""}`);
  }

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const figure of board.root.querySelectorAll("figure[data-key]")) {
      figure.hidden = !words.every((word) => figure.dataset.key.toLowerCase().includes(word));
    }
    for (const group of board.root.querySelectorAll("details.group")) {
      group.hidden = !group.querySelector("figure:not([hidden])");
    }
  }

  let timer;
  form.addEventListener("input", (event) => {
    show();
    if (event.target === find) filter();
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (event.target === smooth) board.set({ smooth: Number(smooth.value) });
      if (event.target === axis) board.set({ axis: axis.value });
      if (event.target === log) board.set({ log: log.checked });
      remember();
    }, event.target === smooth ? 60 : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  reset.addEventListener("click", () => board.set({ low: null, high: null }));
  board.root.addEventListener("mlw:settings", () => { show(); remember(); });
  return filter;
}
