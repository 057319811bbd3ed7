// Each photograph that is chosen, dropped or pasted is sent alone, as the body of a request, and its JSON answer is drawn.
const upload = document.querySelector(".upload");
const form = upload.querySelector("form");
const input = document.getElementById("photo");
const zone = upload.querySelector(".zone");
const again = form.querySelector("button");
const live = upload.querySelector("[role=status]");
const progress = upload.querySelector("progress");
const download = document.getElementById("download");
const results = upload.querySelector("section");
const MARKS = JSON.parse(results.dataset.marks);  // what each mark means
const HEADER = JSON.parse(results.dataset.header);
const items = new Map();  // the photographs of the page, in the order in which they were chosen
let queue = Promise.resolve();
let done = 0;
let total = 0;
let known = 0;  // photographs that were chosen again

const count = (number) => `${number.toLocaleString("en")} photograph${number === 1 ? "" : "s"}`;

// Shows the photograph of an item: if the browser does not know its format, as a small JPEG of the server.
function picture(item, properties) {
  const image = element("img", { loading: "lazy", src: item.url, ...properties });
  image.addEventListener("error", async () => {
    item.preview ??= fetch("/preview", { method: "POST", body: item.file })
      .then((response) => response.ok ? response.blob() : Promise.reject())
      .then((blob) => URL.createObjectURL(blob));
    try {
      image.src = await item.preview;
    } catch {
      image.remove();
    }
  }, { once: true });
  return image;
}

async function send({ file }) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { error: "cannot be read: a folder, or no longer there; choose the photographs themselves" };
  }
  try {
    const response = await fetch(`/caption?${new URLSearchParams({ image: file.name })}`, { method: "POST", body: file });
    const answer = await response.json();
    answer.error = answer.error?.replace(`${file.name}: `, "");
    return answer;
  } catch {
    return { error: "the server does not respond, or is busy; is it running?" };
  }
}

function draw(item, { caption, familiarity, marks, keywords, candidates, attention }) {
  const { name } = item.file;
  const known = familiarity === null ? "" : ` · familiarity ${Math.round(familiarity)} of 100`;
  const words = keywords.map(({ word }) => word).join(", ");
  const heading = element("h2", { className: marks.length ? "marked" : "" }, caption || NO_WORDS);
  const keywordLine = element("p", {}, "keywords: ", element("span", {}, words));
  const text = element("div", {},
    ...marks.map((mark) => element("p", { className: "mark" }, element("strong", {}, mark), `: ${MARKS[mark]}`)),
    heading,
    ...(words ? [keywordLine] : []),
    element("p", { className: "faint" }, `${name}${known}`),
    element("div", { className: "copies" },
      ...(caption ? [copyButton("Copy caption", caption, heading)] : []),
      ...(words ? [copyButton("Copy keywords", words, keywordLine.lastChild)] : [])),
    ...(candidates ? [element("h3", {}, "Candidates"), candidateTable(candidates)] : []));
  const photo = picture(item, { className: "photo", alt: caption || NO_WORDS });
  const maps = attention ? [element("h3", {}, "Attention"), ...attentionMaps(attention, () => picture(item, { alt: "" }))] : [];
  return [element("div", { className: "captioned" }, photo, text), ...maps];
}

// Photographs that have an error; not those that wait.
const failed = () => [...items.values()].filter(({ article, error }) => !article.ariaBusy && error);

function showButtons() {
  const number = failed().length;
  again.hidden = number === 0;
  again.textContent = `Caption ${count(number)} again`;
  download.hidden = ![...items.values()].some(({ answer }) => answer?.row);
}

function summary({ answer, error, file }) {
  return `${file.name}: ${error ?? [...answer.marks, answer.caption || NO_WORDS].join(": ")}`;
}

function summaryOfAll() {
  const answers = [...items.values()].filter(({ error }) => !error).map(({ answer }) => answer);
  const numbers = {
    "to check first": answers.filter((answer) => answer?.marks.length).length,
    failed: items.size - answers.length,
  };
  const captioned = `${count(answers.filter((answer) => answer).length)} captioned`;
  return [captioned, ...Object.entries(numbers).filter(([, n]) => n).map(([what, n]) => `${n} ${what}`)].join(", ");
}

async function captionOne(item) {
  const answer = await send(item);
  try {
    if (!answer.error) Object.assign(item, { shown: draw(item, answer), answer });
  } catch {
    answer.error = "not an answer of captioner; is another program at this address?";
  }
  item.error = answer.error;
  item.article.ariaBusy = null;
  const problem = [element("p", { className: "faint" }, item.file.name), element("p", { className: "problem" }, item.error)];
  item.article.replaceChildren(...(item.error ? problem : item.shown));
  done += 1;
  progress.value = done;
  live.textContent = total > 1 ? `${done} of ${total} · ${summary(item)}` : summary(item);
  if (done === total) {
    if (total > 1) live.textContent = summaryOfAll();
    if (known) live.textContent += `; ${count(known)} already on this page`;
    progress.hidden = true;
    done = total = known = 0;
  }
  showButtons();
}

function captionAll(chosen) {
  total += chosen.length;
  Object.assign(progress, { hidden: false, max: total, value: done });
  live.textContent = `${done} of ${total} …`;
  for (const item of chosen) {
    item.article.ariaBusy = "true";
    queue = queue.then(() => captionOne(item));
  }
  showButtons();
}

// Whether two files of one size have the same content; a browser does not know their folders.
async function same(...files) {
  const [one, other] = await Promise.all(files.map((file) => file.arrayBuffer()));
  return indexedDB.cmp(one, other) === 0;
}

async function take(files) {
  if (!files.length) return;
  input.files = files;
  const chosen = [];
  for (const file of [...files]) {
    let key = `${file.name} ${file.size} ${file.lastModified}`;
    while (items.has(key) && !await same(file, items.get(key).file).catch(() => false)) key += "+";
    if (items.has(key)) {
      known += 1;
      continue;
    }
    const article = element("article", {}, element("p", { className: "faint" }, `${file.name} …`));
    const item = { file, article, url: URL.createObjectURL(file) };
    items.set(key, item);
    chosen.push(item);
  }
  results.prepend(...chosen.map(({ article }) => article));
  if (chosen.length) captionAll(chosen);
  else if (!total) {
    live.textContent = `${count(known)} already on this page`;
    known = 0;
  }
}

function saveTable() {
  const rows = [...items.values()].map(({ answer }) => answer?.row ?? "");
  const url = URL.createObjectURL(new Blob(["\ufeff", HEADER, ...rows], { type: "text/csv" }));
  element("a", { href: url, download: "captions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

form.addEventListener("submit", (event) => { event.preventDefault(); captionAll(failed()); });
download.addEventListener("click", saveTable);
input.addEventListener("change", () => take(input.files));
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
document.addEventListener("dragleave", () => zone.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  take(event.dataTransfer.files);
});
