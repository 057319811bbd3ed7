// Without this script, the form works: it is sent, and the server returns the page. The script sends the same form for each
// photograph that is chosen, dropped or pasted, and moves the result from the response into this page.
"use strict";
const form = document.querySelector("form");
const input = document.getElementById("photo");
const zone = document.querySelector(".zone");
const results = document.getElementById("results");
const live = document.querySelector("[role=status]");
let queue = Promise.resolve();
input.multiple = true;
document.querySelectorAll("[data-script]").forEach((element) => { element.hidden = false; });

function problem(text) {
  const article = document.createElement("article");
  const line = document.createElement("p");
  line.className = "problem";
  line.setAttribute("role", "alert");
  line.textContent = text;
  article.append(line);
  return article;
}

async function send(file) {
  if (file.size > Number(form.dataset.maxBytes)) {
    return problem(`${file.name}: ${form.dataset.tooLarge}`);
  }
  const data = new FormData(form);
  data.set("photo", file, file.name);
  try {
    const response = await fetch(form.action, { method: "POST", body: data });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return page.querySelector("#results article") || problem(`${file.name}: the server returned ${response.status}`);
  } catch {
    return problem(`${file.name}: the server does not respond; is it running?`);
  }
}

const articles = new Map();  // by photograph, so that captioning it again replaces its caption
const download = document.querySelector("[data-download]");
let total = 0;
let done = 0;
const keyOf = (file) => `${file.name}/${file.size}/${file.lastModified}`;

function offerDownload() {
  const rows = [...results.querySelectorAll("article[data-csv]")].map((article) => JSON.parse(article.dataset.csv));
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(new Blob(["\ufeff", JSON.parse(form.dataset.csv), ...rows], { type: "text/csv" }));
  download.hidden = !rows.length;
}

function offerCopy(article) {
  const button = article.querySelector("[data-copy]");
  if (button && navigator.clipboard) {  // browsers have it on localhost and over HTTPS only
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(article.querySelector("h2").textContent);
      button.textContent = "Copied";
    });
  }
}

async function caption(file, end, batch) {
  done += 1;
  if (batch.refused) {
    return;
  }
  results.querySelectorAll("[data-of-options]").forEach((article) => article.remove());
  const pending = document.querySelector("template").content.cloneNode(true).firstElementChild;
  const image = pending.querySelector("img");
  const picture = URL.createObjectURL(file);
  image.addEventListener("error", () => image.remove());  // a format that the browser cannot show
  image.src = picture;
  pending.querySelector(".name").textContent = `${file.name} …`;
  const earlier = articles.get(keyOf(file));
  if (earlier && earlier.isConnected) {
    earlier.replaceWith(pending);
  } else {
    results.insertBefore(pending, end);
  }
  results.setAttribute("aria-busy", "true");
  live.textContent = `Captioning ${done} of ${total}: ${file.name} …`;
  const article = document.adoptNode(await send(file));
  URL.revokeObjectURL(picture);
  batch.refused = "ofOptions" in article.dataset;  // the same for every photograph: one message
  if (batch.refused && earlier) {
    pending.replaceWith(earlier);
    results.prepend(article);
  } else {
    pending.replaceWith(article);
    articles.set(keyOf(file), article);
  }
  results.removeAttribute("aria-busy");
  offerCopy(article);
  offerDownload();
  const heading = article.querySelector("h2");
  const progress = total > 1 ? `${done} of ${total}: ` : "";
  live.textContent = batch.refused ? "" : heading ? `${progress}${file.name}: ${heading.textContent}` : progress;
}

function captionAll() {
  const end = document.createComment("");  // photographs that are chosen together keep their order, newer ones are above
  results.prepend(end);
  const batch = { refused: false };
  if (done === total) {
    done = total = 0;
  }
  total += input.files.length;
  for (const file of input.files) {
    queue = queue.then(() => caption(file, end, batch));
  }
}

function take(files) {
  if (files.length) {
    input.files = files;
    captionAll();
  }
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
