// The pages of one thing: they follow it while it changes; previews of notes; pictures that cannot be shown.
import { fetchPart, live } from "./live.js";
import { morph } from "./morph.js";
import { localize } from "./times.js";
import { t } from "./words.js";

async function refresh() {
  const fresh = await fetchPart("main");
  const head = fresh?.querySelector("[data-page]");
  if (!head) return;
  localize(fresh);
  const page = fresh.ownerDocument;
  morph(document.querySelector("main"), fresh);
  // How many things wait may have changed too.
  const sections = page.querySelector(".sections");
  if (sections) morph(document.querySelector(".sections"), sections);
  document.dispatchEvent(new CustomEvent("mlw:changed", { detail: page }));
  document.dispatchEvent(new CustomEvent("htmx:after:swap"));
  if (!head.dataset.live) stop?.();
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

function broken(image) {
  if (!image.closest(".picture")) return;
  image.hidden = true;
  image.closest(".picture").dataset.broken = t("This picture cannot be shown.");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-preview]");
  if (button) preview(button);
});
document.addEventListener("error", ({ target }) => { if (target.tagName === "IMG") broken(target); }, true);
for (const image of document.querySelectorAll(".picture img")) if (image.complete && !image.naturalWidth) broken(image);
const root = document.querySelector("[data-page]");
const stop = root?.dataset.live ? live(root.dataset.live, refresh, { atOnce: true }) : null;
