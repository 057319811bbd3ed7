// A grid of photographs with their captions, drawn as one scrolls. `source` has what a page does in its own way:
// `list(query, order, show)` returns the ids of photographs, how many of them clearly fit, and a note, `delay` ms after
// the last letter, or null; `load(ids)` returns photographs, or null; `text(photograph, search, redraw, marks)` returns
// the elements of a caption and keywords; `mayLeave` returns whether the grid may be drawn anew.
const DRAWN = 60;  // photographs that are drawn at a time: full rows of one to six columns

// The marks are those of the model's caption.
const marksOf = ({ marks = [], corrected }) => (corrected ? [] : marks);
const counted = (number) => `${number.toLocaleString("en")} photograph${number === 1 ? "" : "s"}`;

function onDemand(summary, draw) {
  const details = element("details", {}, element("summary", {}, summary));
  details.addEventListener("toggle", () => details.append(...draw()), { once: true });
  return details;
}

function albumGrid(page, source, meanings) {
  const [query, order, show] = ["#query", "#order", "#show"].map((id) => page.querySelector(id));
  const live = page.querySelector("[role=status]");
  const results = page.querySelector("section");
  const more = page.querySelector(".more");
  let ids = [], clear = 0, drawn = 0, asked = 0, version = 0, timer = 0, isLoading = false;

  function search(text) {
    query.value = text;
    query.focus();
    update();
  }

  function card(photograph) {
    const { url, thumbnail = url, name, caption, corrected, similarity, candidates, attention } = photograph;
    const image = element("img", { alt: caption ?? NO_WORDS, loading: "lazy", decoding: "async" });
    const photo = element("a", { className: "cell", href: url, target: "_blank", rel: "noopener" }, image);
    image.addEventListener("error", () => photo.replaceChildren(element("span", { className: "none" }, name, element("br"),
      element("span", { className: "faint" }, "cannot be shown here"))));
    image.src = thumbnail;
    const marks = marksOf(photograph).map((mark) =>
      element("p", { className: "mark" }, element("strong", {}, mark), meanings[mark] ? `: ${meanings[mark]}` : ""));
    const known = similarity === undefined || corrected ? "" : ` · expected similarity ${similarity.toFixed(2)}`;
    const redraw = (changed) => {
      const drawn = card(changed);
      item.replaceWith(drawn);
      return drawn;
    };
    const item = element("li", {}, photo, ...source.text(photograph, search, redraw, marks),
      element("p", { className: "faint", title: photograph.path ?? "" }, `${name}${known}`),
      ...(candidates ? [onDemand("Candidates", () => [candidateTable(candidates)])] : []),
      ...(attention ? [onDemand("Attention", () => attentionMaps(attention, () => element("img", { src: thumbnail, alt: "" })))] : []));
    return item;
  }

  // Draws one part at a time: of two that load, the second could be drawn first.
  async function drawMore() {
    if (isLoading || drawn === ids.length) return;
    isLoading = true;
    const start = drawn, end = Math.min(start + DRAWN, start < clear ? clear : ids.length), now = version;
    const photographs = await source.load(ids.slice(start, end));
    if (now !== version) return;
    isLoading = false;
    more.hidden = false;
    observer.unobserve(more);
    if (!photographs) return;  // the button tries again
    drawn = end;
    if (start === clear) results.append(element("p", { className: "faint" }, clear ? "Less certain:" : "None that all words clearly fit. Less certain:"));
    // a list for each part, because the layout of one list of thousands takes long
    const items = photographs.map((photograph) => {
      try {
        return card(photograph);
      } catch {  // a person edited the record
        return element("li", {}, photograph.name);
      }
    });
    if (items.length) results.append(element("ul", { className: "cards" }, ...items));
    more.hidden = drawn === ids.length;
    observer.observe(more);  // observed again, it reports whether it is still near the window
  }

  async function update() {
    if (source.mayLeave && !source.mayLeave()) return;
    const now = ++asked;
    const found = await source.list(query.value, order.value, show.value);
    if (now !== asked || !found) return;
    ({ ids, clear } = found);
    version = now;
    isLoading = false;
    drawn = 0;
    more.hidden = true;
    live.textContent = found.note;
    results.replaceChildren();
    scrollTo(0, 0);
    await drawMore();
  }

  const observer = new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting) drawMore(); }, { rootMargin: "1500px" });
  more.addEventListener("click", drawMore);
  query.addEventListener("input", () => {
    clearTimeout(timer);
    if (source.delay) timer = setTimeout(update, source.delay);
    else update();
  });
  order.addEventListener("change", update);
  show.addEventListener("change", update);
  update();
}
