// Texts of scripts in the page's language. The page carries the translations; English needs none.
const element = document.getElementById("words");
const texts = element ? JSON.parse(element.textContent) : {};

export function t(text, values = {}) {
  return (texts[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const language = document.documentElement.lang || "en";
