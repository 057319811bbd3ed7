"use strict";
// The page is complete without this script: it sorts and filters the gallery.
(() => {
  const gallery = document.querySelector(".entries");
  if (!gallery) return;
  const entries = [...gallery.children];
  const controls = document.querySelector(".controls");
  const sort = controls.querySelector("select");
  const filter = controls.querySelector("input");
  const shown = controls.querySelector("output");
  controls.hidden = false;

  const number = (entry, key) => Number(entry.dataset[key] || 0);
  const orders = {
    page: (a, b) => entries.indexOf(a) - entries.indexOf(b),
    best: (a, b) => number(b, "cider") - number(a, "cider"),
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
})();
