// The page to give away: its data are a JSON text in it.
const { photographs, meanings } = JSON.parse(document.getElementById("album").textContent);

// Letters without accents, in lower case.
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const wordsOf = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
const texts = photographs.map(({ name, caption = "", keywords = [] }) => wordsOf([name, caption, ...keywords.map(({ word }) => word)].join(" ")));
const COMMON = new Set("a an and at in of on the with".split(" "));

// The photographs that contain all words of a text, or words that begin with them, in the order of the page.
function filter(text) {
  const words = wordsOf(text), rare = words.filter((word) => !COMMON.has(word));
  const asked = rare.length ? rare : words;
  return [...photographs.keys()].filter((photograph) => asked.every((word) => texts[photograph].some((other) => other.startsWith(word))));
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
  album: (ids) => ids,
  ascending: (ids) => ids.sort((a, b) => compare(certainty(photographs[a]), certainty(photographs[b]))),
  descending: (ids) => ids.sort((a, b) => compare(certainty(photographs[b]), certainty(photographs[a]))),
};

albumGrid(document.querySelector(".grid"), {
  list(query, order, show) {
    const ids = SORTED[order](filter(query).filter((id) => KEPT[show](photographs[id]))), all = counted(photographs.length);
    return { ids, clear: ids.length, note: ids.length === photographs.length ? all : `${ids.length.toLocaleString("en")} of ${all}` };
  },
  load: (ids) => ids.map((id) => photographs[id]),
  text({ caption, keywords = [], corrected }, search, _, marks) {
    const heading = element("h2", { className: marks.length ? "marked" : "" }, caption ?? NO_WORDS);
    const chips = keywords.map(({ word, share }) => {
      const button = element("button", { type: "button", title: `expected share ${share.toFixed(2)}; filter by it` }, word);
      button.addEventListener("click", () => search(word));
      return element("li", {}, button);
    });
    return [heading, ...marks,
      ...(corrected ? [element("p", { className: "corrected" }, "corrected by a person")] : []),
      ...(chips.length ? [element("ul", { className: "keywords", ariaLabel: "Keywords" }, ...chips)] : []),
      ...(caption ? [copyButton("Copy caption", caption, heading)] : [])];
  },
}, meanings);
