// The pages of a run: the live head, previews of notes.
import { fetchPart, live } from "./live.js";
import { localize } from "./times.js";

async function refresh() {
  const fresh = await fetchPart("#run");
  const old = document.getElementById("run");
  if (!fresh || old.contains(document.activeElement)) return;
  const facts = fresh.querySelector(".facts");
  localize(facts);
  old.querySelector(".facts").replaceWith(facts);
  old.querySelector(".tabs").replaceWith(fresh.querySelector(".tabs"));
  document.dispatchEvent(new CustomEvent("mlw:changed", { detail: fresh.ownerDocument }));
  document.dispatchEvent(new CustomEvent("htmx:after:swap"));
  if (!fresh.dataset.live) stop?.();
}

async function preview(button) {
  const form = button.form;
  const target = form.querySelector("[data-preview-to]");
  const body = new URLSearchParams({ note: form.elements.note.value });
  const answer = await fetch(button.dataset.preview, { method: "POST", body });
  if (!answer.ok) return;
  // The server has parsed and cleaned it, the same way as for the page.
  target.innerHTML = (await answer.json()).html;
  target.hidden = false;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-preview]");
  if (button) preview(button);
});
const root = document.getElementById("run");
const stop = root?.dataset.live ? live(root.dataset.live, refresh) : null;
