// Listens to a page's event stream while the page is seen, and tells when something changed. With `atOnce` it also tells
// when it begins to listen: something may have changed since the page was made.
import { t } from "./words.js";

const AGAIN_MS = 5000;

export function live(url, changed, { atOnce = false } = {}) {
  const note = document.getElementById("lost");
  let source = null;
  let timer;
  let pending = false;
  let again = false;
  let stale = atOnce;

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(url);
    source.addEventListener("changed", once);
    source.addEventListener("open", found);
    source.addEventListener("error", lost);
  }

  // What changes while the page is being fetched may not be in it: it is fetched once more.
  async function once() {
    again = true;
    if (pending) return;
    pending = true;
    try {
      while (again) {
        again = false;
        await changed();
      }
    } finally { pending = false; }
  }

  function found() {
    note.textContent = "";
    if (stale) once();
    stale = false;
  }

  function lost() {
    stale = true;
    note.textContent = t("Connection lost, trying again …");
    // The browser tries again by itself, but not after an answer that was no stream.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    timer = setTimeout(open, AGAIN_MS);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function stop() {
    close();
    note.textContent = "";
    document.removeEventListener("visibilitychange", seen);
  }

  function seen() {
    if (document.hidden) close();
    else { open(); once(); }
  }

  document.addEventListener("visibilitychange", seen);
  addEventListener("pagehide", close);
  open();
  return stop;
}

// Null when there is no such part, or no answer: the stream tells about a lost connection.
export async function fetchPart(selector, url = location.href) {
  const answer = await fetch(url, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(selector);
}
