// Listens to a page's event stream while the page is seen, and tells when something changed.
export function live(url, changed) {
  let source = null;
  let pending = false;

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(url);
    source.addEventListener("changed", once);
  }

  async function once() {
    if (pending) return;
    pending = true;
    try { await changed(); } finally { pending = false; }
  }

  function close() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else { open(); once(); }
  });
  addEventListener("pagehide", close);
  open();
  return close;
}

export async function fetchPart(selector, url = location.href) {
  const answer = await fetch(url, { headers: { accept: "text/html" } });
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(selector);
}
