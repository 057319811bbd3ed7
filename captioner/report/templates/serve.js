// Each photograph that is chosen, dropped or pasted is sent alone, as the body of a request, and its JSON answer is drawn.
"use strict";
const form = document.querySelector("form");
const input = document.getElementById("photo");
const zone = document.querySelector(".zone");
const results = document.getElementById("results");
const live = document.querySelector("[role=status]");
const NO_WORDS = "(no words)";
const FAINT = 0.14;  // the opacity of a region without weight: low, but its content can be recognized
let queue = Promise.resolve();
let total = 0;
let done = 0;

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
  const most = Number(form.dataset.maxBytes);
  if (file.size > most) {
    return { error: `expected a photograph of at most ${most / 1e6} MB; make it smaller` };
  }
  const query = new URLSearchParams(new FormData(form));
  query.set("image", file.name);
  try {
    const response = await fetch(`/caption?${query}`, { method: "POST", body: file });
    const answer = await response.json().catch(() => ({ error: `the server returned ${response.status}` }));
    return { ...answer, isOfOptions: response.status === 400 };
  } catch {
    return { error: "the server does not respond; is it running?" };
  }
}

function attentionMaps(attention, url) {
  const [rows, columns] = attention.grid;
  const maps = attention.words.map((word, step) => {
    const weights = attention.weights[step].flat();
    const sentinel = attention.sentinel[step];
    const strongest = Math.max(...weights);
    const outlined = weights.indexOf(strongest);
    const cells = weights.map((weight, number) => {
      const shown = FAINT + (1 - FAINT) * (1 - sentinel) * weight / Math.max(strongest, 1e-12);
      const cell = element("i", { className: number === outlined ? "strongest" : "" });
      cell.style.background = `color-mix(in srgb, var(--paper) ${100 * (1 - shown)}%, transparent)`;
      return cell;
    });
    const grid = element("div", {}, ...cells);
    grid.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
    const map = element("div", { className: "map" }, picture(url, { alt: "" }), grid);
    map.setAttribute("role", "img");
    map.setAttribute("aria-label", `Attention of ${word}`);
    const label = `region ${strongest.toFixed(2)}, sentinel ${sentinel.toFixed(2)}`;
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

function draw(answer, url) {
  if (answer.error) {
    const problem = element("p", { className: "problem" }, answer.error);
    problem.setAttribute("role", "alert");
    return [problem];
  }
  const { image, caption, familiarity, keywords, labels, candidates, attention } = answer;
  const isKnown = familiarity !== null;
  const words = keywords.map(({ word }) => word).join(", ");
  const named = (labels ?? []).map(({ name, probability }) => `${name} ${Math.round(100 * probability)}%`);
  const text = element("div", {},
    element("h2", {}, caption || NO_WORDS),
    ...answer.marks.map((mark) => element("p", {}, element("strong", {}, mark))),
    ...(words ? [element("p", {}, `keywords: ${words}`)] : []),
    element("p", { className: "faint" }, isKnown ? `${image} · familiarity ${Math.round(familiarity)} of 100` : image),
    ...(named.length ? [element("h3", {}, "ImageNet labels"), element("p", {}, named.join(", "))] : []),
    ...(candidates ? candidateTable(candidates) : []));
  const photo = picture(url, { className: "photo", alt: caption || NO_WORDS });
  return [element("div", { className: "captioned" }, photo, text), ...(attention ? attentionMaps(attention, url) : [])];
}

async function captionOne(file, article, batch) {
  done += 1;
  if (batch.isRefused) {
    article.remove();
    return;
  }
  const progress = total > 1 ? `${done} of ${total}: ` : "";
  live.textContent = `Captioning ${progress}${file.name} …`;
  results.setAttribute("aria-busy", "true");
  const answer = await send(file);
  batch.isRefused = Boolean(answer.isOfOptions);  // the same for every photograph: one message
  if (answer.error && !batch.isRefused && !answer.error.startsWith(file.name)) {
    answer.error = `${file.name}: ${answer.error}`;
  }
  article.replaceChildren(...draw(answer, URL.createObjectURL(file)));
  results.removeAttribute("aria-busy");
  live.textContent = answer.error ? "" : `${progress}${file.name}: ${answer.caption || NO_WORDS}`;
}

function captionAll() {
  if (!form.reportValidity()) {
    return;
  }
  if (done === total) {
    done = total = 0;
  }
  total += input.files.length;
  const batch = { isRefused: false };
  const waiting = [...input.files].map((file) => [file, element("article", {}, element("p", { className: "faint" }, `${file.name} …`))]);
  results.prepend(...waiting.map(([, article]) => article));
  for (const [file, article] of waiting) {
    queue = queue.then(() => captionOne(file, article, batch));
  }
}

function take(files) {
  if (files.length) {
    input.files = files;
    captionAll();
  }
}

form.addEventListener("invalid", () => { document.querySelector("details").open = true; }, true);  // to show the field
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
