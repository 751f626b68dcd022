// Makes a part of the page like a fresh copy of it, node by node: what is focused, scrolled, opened or typed stays.

// What the reader or a script has set; the server's copy knows nothing of it.
const KEPT = new Set(["open", "hidden", "value", "checked"]);

function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  return node.dataset.key ?? (node.id || node.getAttribute("aria-labelledby") || node.querySelector(":scope > th[title]")?.title || "");
}

// For each fresh node the old one that shall become like it. Nodes without a key are matched in their order.
function match(old, fresh) {
  const keyed = new Map();
  const plain = new Map();
  for (const node of old) {
    const key = keyOf(node);
    if (key) keyed.set(key, node);
    else if (plain.has(node.nodeName)) plain.get(node.nodeName).push(node);
    else plain.set(node.nodeName, [node]);
  }
  return fresh.map((node) => {
    const key = keyOf(node);
    const found = key ? keyed.get(key) : plain.get(node.nodeName)?.shift();
    if (key) keyed.delete(key);
    return found?.nodeName === node.nodeName ? found : null;
  });
}

export function morph(old, fresh) {
  if (old.dataset.own !== undefined || old.isEqualNode(fresh)) return;
  for (const { name, value } of fresh.attributes) {
    if (!KEPT.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const nodes = [...fresh.childNodes];
  const same = match(old.childNodes, nodes);
  const stays = new Set(same);
  for (const node of [...old.childNodes]) if (!stays.has(node)) node.remove();
  let at = old.firstChild;
  nodes.forEach((node, index) => {
    const kept = same[index];
    // A moved element would lose its focus, a moved text loses nothing.
    while (kept && kept !== at && at?.nodeType === Node.TEXT_NODE) at = at.nextSibling;
    if (kept !== at || !kept) old.insertBefore(kept ?? node, at);
    else at = at.nextSibling;
    if (kept?.nodeType === Node.ELEMENT_NODE) morph(kept, node);
    else if (kept && kept.data !== node.data) kept.data = node.data;
  });
}
