// What every page does: theme, local times, copying, confirmations, and addresses of MLflow's own UI.
import { localize } from "./times.js";
import { t } from "./words.js";

const THEMES = { auto: "dark", dark: "light", light: "auto" };

export function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.textContent = ""; }, 2500);
}

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
}

function themes() {
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    // The first click must be seen: leave out the choice that looks like the present one.
    let next = THEMES[root.dataset.theme] ?? "dark";
    if (root.dataset.theme === "auto" && isDark) next = "light";
    root.dataset.theme = next;
    remember("mlw-theme", next);
    toast({ auto: t("Colours follow the system"), dark: t("Dark"), light: t("Light") }[next]);
    document.dispatchEvent(new CustomEvent("mlw:theme"));
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(t("Copied"));
  } catch {
    toast(t("Copying is not possible here"));
  }
}

function clicks(event) {
  const target = event.target.closest("[data-copy], [data-copy-url], [data-confirm]");
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!target) return;
  if (target.dataset.copyUrl !== undefined) copy(location.href);
  else if (target.dataset.copy) copy(target.dataset.copy);
  else if (target.dataset.copy !== undefined) copy(target.closest(".call").querySelector("code").textContent);
  else if (!confirm(target.dataset.confirm)) event.preventDefault();
}

function keys(event) {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "Escape") {
    const menu = document.querySelector("details.menu[open]");
    if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select?.(); }
  }
}

// Clients print addresses such as /#/experiments/1/runs/0123…: lead them to the page that shows the same.
function foreignAddress() {
  const model = location.hash.match(/^#\/models\/([^/?]+)(?:\/versions\/(\d+))?/);
  if (location.pathname === "/" && model) {
    const project = new URLSearchParams(location.search).get("project");
    const home = project ? `/projects/${encodeURIComponent(project)}` : "";
    location.replace(`${home}/models/${model[1]}${model[2] ? `/versions/${model[2]}` : ""}`);
    return;
  }
  const found = location.hash.match(/^#\/experiments\/(\d+)(?:\/runs\/([0-9a-f]+))?/);
  if (location.pathname !== "/" || !found) return;
  location.replace(found[2] ? `/runs/${found[2]}` : `/experiments/${found[1]}`);
}

function enhance(root) {
  localize(root);
  for (const element of root.querySelectorAll("[data-copy][hidden], [data-copy-url][hidden], [data-script][hidden]")) {
    element.hidden = false;
  }
}

foreignAddress();
themes();
enhance(document);
// On a narrow screen the tab of this page may lie beyond the edge.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
document.addEventListener("click", clicks);
document.addEventListener("keydown", keys);
document.addEventListener("htmx:after:swap", () => enhance(document));
document.addEventListener("htmx:error", () => toast(t("The server cannot be reached")));
setInterval(() => localize(), 30_000);
