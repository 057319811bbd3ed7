// What pages with captions share: elements, attention maps, candidates, and buttons that copy a text.
"use strict";
const NO_WORDS = "(no words)";
const FAINT = 0.14;  // the opacity of a region without weight: low, but its content can be recognized

// Captions and names of files become text nodes, never markup.
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// `picture` returns another image of the photograph for each word.
function attentionMaps({ words, grid, weights, sentinel }, picture) {
  const maps = words.map((word, step) => {
    const regions = weights[step].flat();
    const strongest = Math.max(...regions);
    const cells = regions.map((weight, number) => {
      const shown = FAINT + (1 - FAINT) * (1 - sentinel[step]) * weight / Math.max(strongest, 1e-12);
      const cell = element("i", { className: number === regions.indexOf(strongest) ? "strongest" : "" });
      cell.style.background = `color-mix(in srgb, var(--paper) ${100 * (1 - shown)}%, transparent)`;
      return cell;
    });
    const overlay = element("div", {}, ...cells);
    overlay.style.gridTemplate = `repeat(${grid[0]}, 1fr) / repeat(${grid[1]}, 1fr)`;
    const map = element("div", { className: "map", role: "img", ariaLabel: `Attention of ${word}` }, picture(), overlay);
    const label = `region ${strongest.toFixed(2)}, sentinel ${sentinel[step].toFixed(2)}`;
    return element("li", {}, map, element("span", { className: "word" }, word), element("span", { className: "faint" }, label));
  });
  return [
    element("p", { className: "faint" }, "The regions to which the model attends when it predicts the word; the others are " +
      "covered, and the strongest one is outlined. The sentinel is the alternative to all regions."),
    element("ol", { className: "panels" }, ...maps),
  ];
}

function candidateTable(candidates) {
  const rows = candidates.map(({ caption, log_prob }) =>
    element("tr", {}, element("td", {}, caption || NO_WORDS), element("td", { className: "number" }, log_prob.toFixed(2))));
  const head = element("tr", {}, element("th", {}, "caption"), element("th", { className: "number" }, "log-prob."));
  return element("table", {}, head, ...rows);
}

// `shown` is the element with the text: where the clipboard is not available, it is selected and copied.
function copyButton(label, text, shown) {
  const button = element("button", { type: "button", className: "copy" }, label);
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(shown);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}
