"use strict";
// The page is complete without this script: it enlarges the attention of a word, also in a gallery that comes later.
(() => {
  // A word with the pointer or the focus shows its map on the large picture; the pointer wins.
  const show = (word) => {
    const view = word.closest("li.entry").querySelector(".view");
    view.querySelector(".over").replaceChildren(...word.querySelector(".map").cloneNode(true).childNodes);
    view.querySelector(".word-label").textContent = word.getAttribute("aria-label");
  };
  const clear = (word) => {
    const view = word.closest("li.entry").querySelector(".view");
    view.querySelector(".over").replaceChildren();
    view.querySelector(".word-label").textContent = "";
  };
  const listen = (event, action) =>
    document.addEventListener(event, ({ target }) => {
      const word = target.closest?.(".word");
      if (word) action(word);
    });
  for (const event of ["pointerover", "focusin"]) listen(event, show);
  for (const event of ["pointerout", "focusout"]) listen(event, clear);
})();
