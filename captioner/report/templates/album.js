// The data of the page are a JSON text; photographs are drawn as one scrolls.
const { photographs, words, idf, search, meanings } = JSON.parse(document.getElementById("album").textContent);
const query = document.getElementById("query");
const order = document.getElementById("order");
const show = document.getElementById("show");
const live = document.querySelector("[role=status]");
const results = document.querySelector("section");
const more = document.querySelector(".more");
const DRAWN = 60;  // photographs that are drawn at a time: full rows of one to six columns
const { FLOOR, FITS, COMMON } = search;

// As `tokenize` in data/vocabulary.py.
const CJK = "\\u3005\\u3007\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{20000}-\\u{3fa1f}";
const RUN = `[^\\s${CJK}'.,\\-]+`, LETTER = "[\\p{L}\\p{N}_]";
const INITIALS = `(?<=(?<!${LETTER})${LETTER})\\.(?=${LETTER}(?!${LETTER}))`;
const PIECES = new RegExp(`[${CJK}]|${RUN}(?:(?:[\\-']|(?<=\\p{Nd})[.,](?=\\p{Nd})|${INITIALS})${RUN})*`, "gu");
const CLITICS = ["n't", "'s", "'m", "'d", "'re", "'ve", "'ll"];

function splitClitics(word) {
  const clitic = CLITICS.find((end) => end.length < word.length && word.endsWith(end));
  return clitic ? [...splitClitics(word.slice(0, -clitic.length).replace(/['.,-]+$/, "")), clitic] : [word];
}

function tokenize(text) {
  const plain = text.normalize("NFC").toLowerCase()
    .replace(/[\u2018\u2019]/g, "'").replace(/[\u2010\u2011]/g, "-").replace(/[_\u115f\u1160\u2800\u3164\uffa0]/g, " ")
    .replace(/(?![\u200c\u200d])[\p{Cf}\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu, "")
    .replace(/[^\p{L}\p{M}\p{N}\p{S}'.,\-%&#@*/\u200c\u200d]|[`´^]/gu, " ")
    .replace(/[\p{S}%&#@*/]/gu, " $& ")
    .replace(/([\u200c\u200d])[\u200c\u200d]+/g, "$1")
    .replace(/(?<![\u0600-\u1cff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u1cff])/g, "");
  return (plain.normalize("NFC").match(PIECES) ?? []).flatMap(splitClitics);
}

const numberOf = new Map(words.map((word, number) => [word, number]));

// Rank photographs as captioning/search.py: by the sum of idf_w log max(p_w, FLOOR) over the distinct words w of a text,
// best first. One of the words that are not common must fit a photograph.
function rank(text) {
  const asked = [...new Set(tokenize(text))];
  if (!asked.length) return { found: [...photographs.keys()], unknown: [], isEmpty: true };
  const unknown = asked.filter((word) => !numberOf.has(word));
  const numbers = asked.filter((word) => numberOf.has(word)).map((word) => numberOf.get(word));
  const column = new Int32Array(words.length).fill(-1);
  numbers.forEach((number, place) => { column[number] = place; });
  const rare = numbers.filter((number) => idf[number] >= COMMON);
  const deciding = (rare.length || unknown.length ? rare : numbers).map((number) => column[number]);
  const shares = new Float64Array(numbers.length);
  const scores = new Map();
  photographs.forEach(({ shares: packed }, photograph) => {
    shares.fill(0);
    for (let i = 0; i < packed.length; i += 2) {
      const place = column[packed[i]];
      if (place >= 0) shares[place] = packed[i + 1] / 1000;
    }
    if (!deciding.some((place) => shares[place] >= FITS)) return;
    scores.set(photograph, numbers.reduce((sum, number, place) => sum + idf[number] * Math.log(Math.max(shares[place], FLOOR)), 0));
  });
  return { found: [...scores.keys()].sort((a, b) => scores.get(b) - scores.get(a)), unknown, isEmpty: false };
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
    const button = element("button", { type: "button", title: `expected share ${share.toFixed(2)}; search for it` }, word);
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
  const { found, unknown, isEmpty } = rank(query.value);
  order.options[0].text = isEmpty ? "album" : "best match first";
  const numbers = found.filter((number) => KEPT[show.value](photographs[number]));
  shown = SORTED[order.value](numbers);
  const all = `${photographs.length.toLocaleString("en")} photograph${photographs.length === 1 ? "" : "s"}`;
  const count = shown.length === photographs.length ? all : `${shown.length.toLocaleString("en")} of ${all}`;
  live.textContent = count + (unknown.length ? ` · unknown: ${unknown.join(", ")}` : "");
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
