// The data of the page are a JSON text; photographs are drawn as one scrolls.
const { photographs, meanings } = JSON.parse(document.getElementById("album").textContent);
const query = document.getElementById("query");
const order = document.getElementById("order");
const show = document.getElementById("show");
const live = document.querySelector("[role=status]");
const results = document.querySelector("section");
const more = document.querySelector(".more");
const DRAWN = 60;  // photographs that are drawn at a time: full rows of one to six columns

// Letters without accents, in lower case.
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const texts = photographs.map(({ name, caption = "", keywords = [] }) => plain([name, caption, ...keywords.map(({ word }) => word)].join(" ")));

const COMMON = new Set("a an and at in of on the with".split(" "));

// The photographs that contain all words of a text, in the order of the page.
function filter(text) {
  const words = plain(text).split(/\s+/).filter(Boolean), rare = words.filter((word) => !COMMON.has(word));
  const asked = rare.length ? rare : words;
  return [...photographs.keys()].filter((photograph) => asked.every((word) => texts[photograph].includes(word)));
}

function onDemand(summary, draw) {
  const details = element("details", {}, element("summary", {}, summary));
  details.addEventListener("toggle", () => details.append(...draw()), { once: true });
  return details;
}

// The marks are those of the model's caption.
const marksOf = ({ marks = [], corrected }) => (corrected ? [] : marks);

function card(photograph) {
  const { url, name, caption, keywords = [], corrected, similarity, candidates, attention } = photograph;
  const given = marksOf(photograph);
  const image = element("img", { alt: caption ?? NO_WORDS, loading: "lazy", decoding: "async" });
  const photo = element("a", { className: "photo", href: url, target: "_blank", rel: "noopener" }, image);
  image.addEventListener("error", () => photo.replaceChildren(element("span", { className: "none" }, name, element("br"),
    element("span", { className: "faint" }, "cannot be shown here"))));
  image.src = url;
  const heading = element("h2", { className: given.length ? "marked" : "" }, caption ?? NO_WORDS);
  const chips = keywords.map(({ word, share }) => {
    const button = element("button", { type: "button", title: `expected share ${share.toFixed(2)}; filter by it` }, word);
    button.addEventListener("click", () => { query.value = word; query.focus(); update(); });
    return element("li", {}, button);
  });
  const known = similarity === undefined || corrected ? "" : ` · expected similarity ${similarity.toFixed(2)}`;
  return element("li", {}, photo, heading,
    ...given.map((mark) => element("p", { className: "mark" }, element("strong", {}, mark), meanings[mark] ? `: ${meanings[mark]}` : "")),
    ...(corrected ? [element("p", { className: "corrected" }, "corrected by a person")] : []),
    ...(chips.length ? [element("ul", { className: "keywords", ariaLabel: "Keywords" }, ...chips)] : []),
    element("p", { className: "faint" }, `${name}${known}`),
    ...(caption ? [copyButton("Copy caption", caption, heading)] : []),
    ...(candidates ? [onDemand("Candidates", () => [candidateTable(candidates)])] : []),
    ...(attention ? [onDemand("Attention", () => attentionMaps(attention, () => element("img", { src: url, alt: "" })))] : []));
}

const KEPT = {
  all: () => true,
  marked: (photograph) => marksOf(photograph).length > 0,
  unmarked: (photograph) => !marksOf(photograph).length,
  corrected: ({ corrected }) => corrected,
};
const certainty = ({ corrected, similarity = -1 }) => (corrected ? Infinity : similarity);
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const SORTED = {
  album: (numbers) => numbers,
  ascending: (numbers) => numbers.sort((a, b) => compare(certainty(photographs[a]), certainty(photographs[b]))),
  descending: (numbers) => numbers.sort((a, b) => compare(certainty(photographs[b]), certainty(photographs[a]))),
};
let shown = [], drawn = 0;

function drawMore() {
  // a list for each part, because the layout of one list of thousands takes long
  const part = shown.slice(drawn, drawn + DRAWN).map((number) => {
    try {
      return card(photographs[number]);
    } catch {  // a person edited the record
      return element("li", {}, photographs[number].name);
    }
  });
  if (part.length) results.append(element("ul", { className: "cards" }, ...part));
  drawn += part.length;
  more.hidden = drawn === shown.length;
  observer.unobserve(more);  // observed again, it reports whether it is still near the window
  observer.observe(more);
}

function update() {
  const numbers = filter(query.value).filter((number) => KEPT[show.value](photographs[number]));
  shown = SORTED[order.value](numbers);
  const all = `${photographs.length.toLocaleString("en")} photograph${photographs.length === 1 ? "" : "s"}`;
  const count = shown.length === photographs.length ? all : `${shown.length.toLocaleString("en")} of ${all}`;
  live.textContent = count;
  results.replaceChildren();
  drawn = 0;
  scrollTo(0, 0);
  drawMore();
}

const observer = new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting) drawMore(); }, { rootMargin: "1500px" });
more.addEventListener("click", drawMore);
query.addEventListener("input", update);
order.addEventListener("change", update);
show.addEventListener("change", update);
update();
