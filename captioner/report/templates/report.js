"use strict";
// The page is complete without this script: it sorts and filters the gallery, and enlarges the attention of a word.
(() => {
  const gallery = document.querySelector(".entries");
  const entries = [...gallery.children];
  const controls = document.querySelector(".controls");
  const sort = controls.querySelector("select");
  const filter = controls.querySelector("input");
  const shown = controls.querySelector("output");
  controls.hidden = false;

  const number = (entry, key) => Number(entry.dataset[key] || 0);
  const orders = {
    page: (a, b) => entries.indexOf(a) - entries.indexOf(b),
    worst: (a, b) => number(a, "cider") - number(b, "cider"),
    likely: (a, b) => number(b, "logProb") - number(a, "logProb"),
    unlikely: (a, b) => number(a, "logProb") - number(b, "logProb"),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true }),
  };
  sort.addEventListener("change", () => gallery.append(...[...entries].sort(orders[sort.value])));

  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const entry of entries) {
      const text = entry.querySelector(".text").textContent.toLowerCase();
      entry.hidden = !words.every((word) => text.includes(word));
    }
    shown.textContent = `${entries.filter((entry) => !entry.hidden).length} of ${entries.length} images`;
  });

  // A word with the pointer or the focus shows its map on the large picture; the pointer wins.
  for (const [event, isShown] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
    gallery.addEventListener(event, ({ target }) => {
      const word = target.closest(".word");
      if (!word) return;
      const view = word.closest("li.entry").querySelector(".view");
      view.querySelector(".over").replaceChildren(...(isShown ? word.querySelector(".map").cloneNode(true).childNodes : []));
      view.querySelector(".word-label").textContent = isShown ? word.getAttribute("aria-label") : "";
    });
  }
})();
