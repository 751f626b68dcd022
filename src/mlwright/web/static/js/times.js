// Times in the reader's own zone and language. The formatters are costly to make, so each is made when first needed.
import { language } from "./words.js";

const UNITS = [["year", 31536e6], ["month", 2592e6], ["day", 864e5], ["hour", 36e5], ["minute", 6e4], ["second", 1e3]];
const RECENT_MS = 7 * 864e5;
const made = new Map();

function once(name, make) {
  if (!made.has(name)) made.set(name, make());
  return made.get(name);
}

const relative = () => once("relative", () => new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" }));
const full = () => once("full", () => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }));
const short = () => once("short", () => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }));

export function ago(date, now = Date.now()) {
  const span = date - now;
  if (Math.abs(span) > RECENT_MS) return short().format(date);
  const [unit, size] = UNITS.find(([, ms]) => Math.abs(span) >= ms) ?? UNITS.at(-1);
  return relative().format(Math.round(span / size), unit);
}

export function localize(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const text = element.dataset.style === "full" ? full().format(date) : ago(date, now);
    if (element.textContent !== text) element.textContent = text;
  }
}

// The exact time, when someone points at it.
document.addEventListener("mouseover", ({ target }) => {
  if (target.tagName === "TIME" && !target.title) target.title = full().format(new Date(target.dateTime));
});
