// Times in the reader's own zone and language.
import { language } from "./words.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const UNITS = [["year", 31536e6], ["month", 2592e6], ["day", 864e5], ["hour", 36e5], ["minute", 6e4], ["second", 1e3]];
const RECENT_MS = 7 * 864e5;

export function ago(date, now = Date.now()) {
  const span = date - now;
  if (Math.abs(span) > RECENT_MS) return short.format(date);
  const [unit, size] = UNITS.find(([, ms]) => Math.abs(span) >= ms) ?? UNITS.at(-1);
  return relative.format(Math.round(span / size), unit);
}

export function localize(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    element.title = full.format(date);
    element.textContent = element.dataset.style === "full" ? full.format(date) : ago(date);
  }
}
