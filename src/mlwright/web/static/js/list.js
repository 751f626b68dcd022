// The list of experiments: searching while typing.
const form = document.querySelector("[data-live-search]");
let timer;
let running;

async function search() {
  running?.abort();
  running = new AbortController();
  const query = new URLSearchParams(new FormData(form));
  const url = `${form.action}?${query}`;
  try {
    const answer = await fetch(url, { headers: { accept: "text/html" }, signal: running.signal });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(form.dataset.liveSearch);
    if (!fresh) return;
    document.querySelector(form.dataset.liveSearch).replaceWith(fresh);
    history.replaceState(null, "", url);
    document.dispatchEvent(new CustomEvent("htmx:after:swap"));
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

form?.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
form?.addEventListener("submit", (event) => { event.preventDefault(); search(); });
