// Each photograph that is chosen, dropped or pasted is sent alone, as the body of a request, and its JSON answer is drawn.
"use strict";
const form = document.querySelector("form");
const input = document.getElementById("photo");
const zone = document.querySelector(".zone");
const results = document.querySelector("section");
const live = document.querySelector("[role=status]");
const NO_WORDS = "(no words)";
const FAINT = 0.14;  // the opacity of a region without weight: low, but its content can be recognized
let queue = Promise.resolve();

// Texts of the answer and names of files become text nodes, never markup.
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function picture(url, properties) {
  const image = element("img", { src: url, ...properties });
  image.addEventListener("error", () => image.remove());  // a format that the browser cannot show
  return image;
}

async function send(file) {
  try {
    const query = new URLSearchParams(new FormData(form));
    const response = await fetch(`/caption?${query}`, { method: "POST", body: file });
    return await response.json();
  } catch {
    return { error: "the server does not respond, or is busy; is it running?" };
  }
}

function attentionMaps({ words, grid, weights, sentinel }, url) {
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
    const map = element("div", { className: "map", role: "img", ariaLabel: `Attention of ${word}` }, picture(url, { alt: "" }), overlay);
    const label = `region ${strongest.toFixed(2)}, sentinel ${sentinel[step].toFixed(2)}`;
    return element("li", {}, map, element("span", { className: "word" }, word), element("span", { className: "faint" }, label));
  });
  return [
    element("h3", {}, "Attention"),
    element("p", { className: "faint" }, "The regions to which the model attends when it predicts the word; the others are " +
      "covered, and the strongest one is outlined. The sentinel is the alternative to all regions."),
    element("ol", { className: "panels" }, ...maps),
  ];
}

function candidateTable(candidates) {
  const rows = candidates.map(({ caption, log_prob }) =>
    element("tr", {}, element("td", {}, caption || NO_WORDS), element("td", { className: "number" }, log_prob.toFixed(2))));
  const head = element("tr", {}, element("th", {}, "caption"), element("th", { className: "number" }, "log-prob."));
  return [element("h3", {}, "Candidates"), element("table", {}, head, ...rows)];
}

function draw({ error, caption, familiarity, marks, keywords, labels, candidates, attention }, file) {
  if (error) {
    return [element("p", { className: "faint" }, file.name), element("p", { className: "problem" }, error)];
  }
  const url = URL.createObjectURL(file);
  const known = familiarity === null ? "" : ` · familiarity ${Math.round(familiarity)} of 100`;
  const words = keywords.map(({ word }) => word).join(", ");
  const named = labels?.map(({ name, probability }) => `${name} ${Math.round(100 * probability)}%`).join(", ");
  const text = element("div", {},
    element("h2", {}, caption || NO_WORDS),
    ...marks.map((mark) => element("p", {}, element("strong", {}, mark))),
    ...(words ? [element("p", {}, `keywords: ${words}`)] : []),
    element("p", { className: "faint" }, `${file.name}${known}`),
    ...(named ? [element("h3", {}, "ImageNet labels"), element("p", {}, named)] : []),
    ...(candidates ? candidateTable(candidates) : []));
  const photo = picture(url, { className: "photo", alt: caption || NO_WORDS });
  return [element("div", { className: "captioned" }, photo, text), ...(attention ? attentionMaps(attention, url) : [])];
}

async function captionOne(file, article) {
  live.textContent = `Captioning ${file.name} …`;
  const answer = await send(file);
  article.replaceChildren(...draw(answer, file));
  live.textContent = `${file.name}: ${answer.error ?? (answer.caption || NO_WORDS)}`;
}

function captionAll() {
  if (!form.reportValidity()) return;
  const articles = [...input.files].map((file) => {
    const article = element("article", {}, element("p", { className: "faint" }, `${file.name} …`));
    queue = queue.then(() => captionOne(file, article));
    return article;
  });
  results.prepend(...articles);
}

function take(files) {
  if (!files.length) return;
  input.files = files;
  captionAll();
}

form.addEventListener("submit", (event) => { event.preventDefault(); captionAll(); });
input.addEventListener("change", captionAll);
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
document.addEventListener("dragleave", () => zone.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  take(event.dataTransfer.files);
});
