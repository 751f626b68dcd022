// The runs of a comparison and their colours; a click hides or shows a run.
import { colour } from "./colours.js";

export function legend(changed) {
  const chips = [...document.querySelectorAll("#legend .run-chip")];
  const paint = () => chips.forEach((chip, index) => chip.style.setProperty("--own", colour(index)));
  const hidden = new Set();
  for (const chip of chips) {
    const button = chip.querySelector(".swatch");
    button.addEventListener("click", () => {
      const { run } = chip.dataset;
      if (!hidden.delete(run)) hidden.add(run);
      chip.classList.toggle("off", hidden.has(run));
      button.setAttribute("aria-pressed", String(!hidden.has(run)));
      changed(hidden);
    });
  }
  paint();
  document.addEventListener("mlw:theme", paint);
  return new Map(chips.map((chip) => [chip.dataset.run, chip.dataset.name]));
}
