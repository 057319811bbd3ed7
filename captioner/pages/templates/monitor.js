"use strict";
// Fetches the parts of the page again and changes only what differs, so that scroll position, focus, selected text and
// open details are kept.
(() => {
  const SECONDS = 2;
  const tags = new Map();

  function change(old, now) {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName || old.id !== now.id) { old.replaceWith(now); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = now.nodeValue; return; }
    for (const { name } of [...old.attributes])
      if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of [...now.attributes])
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    changeChildren(old, now);
  }

  function changeChildren(old, now) {
    let at = old.firstChild;
    for (const node of [...now.childNodes]) {
      const same = node.id ? [...old.children].find(child => child.id === node.id) : null;
      if (same) {
        if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
        change(same, node);
      } else if (at && !at.id && !node.id) {
        const next = at.nextSibling;
        change(at, node);
        at = next;
      } else old.insertBefore(node, at);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  async function refresh(part) {
    const path = part.dataset.part;
    const headers = tags.has(path) ? { "If-None-Match": tags.get(path) } : {};
    const response = await fetch(path, { headers, cache: "no-store" });
    if (response.status === 304) return;
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    tags.set(path, response.headers.get("ETag"));
    changeChildren(part, page.body);
  }

  async function refreshAll() {
    if (!document.hidden) {
      try {
        for (const part of document.querySelectorAll("[data-part]")) await refresh(part);
      } catch {
        const state = document.getElementById("state");
        tags.clear();
        state.className = "state silent";
        state.textContent = "The monitor does not respond any more; this page shows its last state.";
      }
    }
    setTimeout(refreshAll, SECONDS * 1000);
  }

  setTimeout(refreshAll, SECONDS * 1000);
})();
