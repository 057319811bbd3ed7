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

async function caption(file, end) {
  const pending = document.querySelector("template").content.cloneNode(true).firstElementChild;
  const image = pending.querySelector("img");
  const picture = URL.createObjectURL(file);
  image.addEventListener("error", () => image.remove());  // a format that the browser cannot show
  image.src = picture;
  pending.querySelector(".name").textContent = `${file.name} …`;
  results.insertBefore(pending, end);
  results.setAttribute("aria-busy", "true");
  live.textContent = `Captioning ${file.name} …`;
  const article = document.adoptNode(await send(file));
  pending.replaceWith(article);
  URL.revokeObjectURL(picture);
  results.removeAttribute("aria-busy");
  const heading = article.querySelector("h2");
  live.textContent = heading ? `${file.name}: ${heading.textContent}` : "";
}

function captionAll() {
  const end = document.createComment("");  // photographs that are chosen together keep their order, newer ones are above
  results.prepend(end);
  for (const file of input.files) {
    queue = queue.then(() => caption(file, end));
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
