// The names of an experiment's metrics, parameters and tags: asked for once, when first needed.
let names = null;

export async function keys() {
  if (names) return names;
  const source = document.querySelector("[data-keys]");
  if (!source) return { pairs: [], complete: true };
  const answer = await fetch(source.dataset.keys);
  if (!answer.ok) return { pairs: [], complete: true };
  const found = await answer.json();
  names = { pairs: ["metrics", "params", "tags"].flatMap((kind) => found[kind].map((key) => [kind, key])), complete: found.complete };
  return names;
}
