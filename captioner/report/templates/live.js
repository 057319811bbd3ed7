// The album of `captioner serve`: lists, photographs and corrections come from the server and go to it.
const { token, start, meanings } = JSON.parse(document.getElementById("settings").textContent);
const panels = { album: document.querySelector(".grid"), caption: document.querySelector(".upload") };
const WIDTH = 30;  // letters of a line of a caption
const SEEN = 400;  // milliseconds after which a caption can be confirmed

async function ask(path, values = {}, request = {}) {
  const response = await fetch(`/album/${path}?${new URLSearchParams({ ...values, token })}`, request)
    .catch(() => { throw new Error("the server does not respond; is it running?"); });
  const answer = await response.json().catch(() => ({ error: "the server is busy; try again" }));
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

function startAlbum() {
  const status = panels.album.querySelector("[role=status]");
  const say = (text) => { status.textContent = text; };

  // A field that Enter saves and Escape restores; `rows` makes it as high as its text.
  function field(name, label, text, save) {
    const made = element(name, { defaultValue: text, value: text, title: text, ariaLabel: label, autocomplete: "off", enterKeyHint: "done" });
    const fit = () => { if (name === "textarea") made.rows = Math.max(1, Math.ceil(made.value.length / WIDTH)); };
    let since = 0;
    made.addEventListener("focus", () => { since = performance.now(); });
    made.addEventListener("input", () => { made.classList.toggle("unsaved", made.value !== text); fit(); });
    made.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        made.value = text;
        made.classList.remove("unsaved");
        fit();
      } else if (event.key === "Enter") {
        event.preventDefault();
        // a key that is held, or pressed twice, does not confirm the next photograph, which nobody has seen
        const isChanged = [...made.closest("li").querySelectorAll("textarea, input")].some((each) => each.value !== each.defaultValue);
        if (!event.repeat && (isChanged || performance.now() - since > SEEN)) save();
      }
    });
    fit();
    return made;
  }

  function next(item) {
    const fields = [...panels.album.querySelectorAll("textarea")];
    return fields[fields.indexOf(item.querySelector("textarea")) + 1];
  }

  const source = {
    delay: 250,
    async list(query, order, show) {
      try {
        const { ids, clear, unknown } = await ask("list", { query, order, show });
        const note = unknown.length ? `; unknown to the model, and in no name or correction: ${unknown.join(", ")}` : "";
        const empty = ids.length || query || show !== "all" ? "" : "; captioner caption FOLDER adds those of a folder";
        return { ids, clear, note: `${counted(ids.length)}${note}${empty}` };
      } catch ({ message }) {
        say(message);
        return null;
      }
    },
    mayLeave() {
      const unsaved = panels.album.querySelector(".unsaved");
      if (unsaved) say("first save the changed text with Enter, or restore it with Escape");
      unsaved?.focus();
      return !unsaved;
    },
    async load(ids) {
      try {
        const photographs = await ask("photographs", { ids });
        return photographs.map((each) => ({
          ...each, url: `/album/photograph/${each.id}?token=${token}`, thumbnail: `/album/thumbnail/${each.id}?token=${token}`,
        }));
      } catch ({ message }) {
        say(message);
        return null;
      }
    },
    text(photograph, search, redraw, marks) {
      const { id, caption = "", keywords = [], by_person: byPerson, generated, copies, url, thumbnail } = photograph;
      const names = keywords.map(({ word }) => word);
      let { revision } = photograph;

      async function change(request, done, goOn) {
        const item = captionField.closest("li"), fields = [captionField, wordField];
        if (captionField.readOnly) return;  // another change of it is being saved
        for (const each of fields) each.readOnly = true;
        try {
          const changed = { ...await ask(`correction/${id}`, { revision }, request), url, thumbnail };
          const following = next(item), focused = item.contains(document.activeElement);
          const drawn = redraw(changed);
          if (focused) (goOn && following || drawn.querySelector("textarea")).focus();
          say(done);
        } catch ({ message, status }) {
          if (status === 409) {  // what is unsaved stays, and replaces the other text if it is saved again
            const [current] = await source.load([id]) ?? [];
            if (current && !item.querySelector(".unsaved")) redraw(current);
            revision = current?.revision ?? revision;
          }
          for (const each of fields) each.readOnly = false;
          say(message);
        }
      }

      function save() {
        const written = wordField.value === names.join(", ") ? names : wordField.value;
        const isSame = captionField.value === caption && written === names;
        const body = JSON.stringify({ caption: captionField.value, keywords: written });
        change({ method: "PUT", body }, isSame ? `confirmed: ${caption}` : `saved: ${captionField.value}`, true);
      }

      const captionField = field("textarea", "Caption", caption, save);
      captionField.className = marks.length ? "marked" : "";
      const wordField = field("input", "Keywords", names.join(", "), save);
      const back = element("button", { type: "button", className: "copy", title: generated }, "Take back");
      back.addEventListener("click", () => {
        if (source.mayLeave()) change({ method: "DELETE" }, `taken back: ${generated}`, false);
      });
      const by = element("p", { className: "corrected" }, `${byPerson} by you `, back);
      return [captionField, ...marks, ...(byPerson ? [by] : []), wordField,
        ...(copies ? [element("p", { className: "faint" }, `and ${copies} more ${copies > 1 ? "copies" : "copy"}`)] : [])];
    },
  };
  albumGrid(panels.album, source, meanings);
  addEventListener("beforeunload", (event) => { if (panels.album.querySelector(".unsaved")) event.preventDefault(); });
}

// The panel in the address, such as #caption; photographs that are dropped or pasted are captioned.
const TITLE = document.title;
let isStarted = false;
function showPanel() {
  const name = location.hash.slice(1) in panels ? location.hash.slice(1) : start;
  document.title = name === "album" ? "Album" : TITLE;
  for (const [each, panel] of Object.entries(panels)) panel.hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) link.ariaCurrent = link.hash === `#${name}` ? "page" : null;
  if (name === "album" && !isStarted) {
    isStarted = true;
    startAlbum();
  }
}

if (panels.album) {
  addEventListener("hashchange", showPanel);
  for (const type of ["drop", "paste"]) {
    document.addEventListener(type, (event) => {
      if ((event.dataTransfer ?? event.clipboardData).files.length) location.hash = "caption";
    });
  }
  showPanel();
}
