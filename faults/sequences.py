"""Any sequence of what people and programs do to photographs, tables and an album, compared with a dict."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from captioner.captioning.caption import Candidate, Caption
from captioner.data.table_cells import unescape_cell
from captioner.photos.album import Album, status_of
from captioner.photos.exports import read_table, take_corrections, write_table
from faults.session import Outcome, Row, Session

SEQUENCES = 30
"""Sequences of a trial."""

NAMES = st.sampled_from(["a.jpg", "b.jpg", "é c.jpg", "sub/a.jpg", "sub/d.jpg"])
TABLES = st.sampled_from(["t.csv", "u.csv"])
FORMS = st.sampled_from(
    [(",", "utf-8", "\r\n"), (";", "utf-8-sig", "\n"), ("\t", "utf-16", "\r\n"), (";", "utf-8", "\r")]
)
TEXTS = st.sampled_from(["a dog", "=1+1", 'my "own"; words', "été", "x, y", "two lines"])


class Photographs(RuleBasedStateMachine):
    """Files are pictures with metadata. `captions` has what counts of each picture that was captioned."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self.root = Path(self._folder.name)
        self.album = self.opened()
        self.captions: dict[str, str] = {}
        self.number, self.model = 0, 0
        self.stale: dict[str, bytes] = {}
        for name in ("a.jpg", "b.jpg", "sub/d.jpg"):
            self.take(name)
        self.caption(False, True)
        self.export("t.csv")
        self.stale["t.csv"] = (self.root / "t.csv").read_bytes()

    def opened(self) -> Album:
        album = Album(self.root / "a.db")
        album._db.execute("PRAGMA synchronous = OFF")  # power does not fail here
        return album

    def teardown(self) -> None:
        self.album.close()
        self._folder.cleanup()

    def picture(self, name: str) -> str:
        return (self.root / name).read_text().partition("|")[0]

    def photos(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*.jpg"))

    def write(self, name: str, picture: str) -> None:
        self.number += 1
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"{picture}|{self.number}")

    @rule(name=NAMES)
    def take(self, name: str) -> None:
        """A new photograph, or another one in the place of an old one."""
        self.write(name, f"picture {self.number}")

    @rule(old=NAMES, new=NAMES, keeps=st.booleans())
    def rename_or_copy(self, old: str, new: str, keeps: bool) -> None:
        if (self.root / old).exists() and old != new:
            if keeps:
                self.write(new, self.picture(old))
            else:
                (self.root / new).parent.mkdir(exist_ok=True)
                os.replace(self.root / old, self.root / new)

    @rule(name=NAMES)
    def rewrite_metadata(self, name: str) -> None:
        if (self.root / name).exists():
            self.write(name, self.picture(name))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    @rule(recaption=st.booleans(), flushes=st.booleans())
    def caption(self, recaption: bool, flushes: bool) -> None:
        """Caption what the album lacks, or all with another model; without a flush, a kill follows."""
        self.model += recaption
        known, before = self.album.digests(), dict(self.captions)
        for path in self.photos():
            if recaption or not self.album.known(path):
                picture = self.picture(str(path.relative_to(self.root)))
                digest = blake2b(picture.encode(), digest_size=16).digest()
                text = f"model {self.model} of {picture}"
                new = Caption(str(path), text, -1.0, [], None, [Candidate(text, -1.0)])
                is_new = recaption or digest not in known
                self.album.locate(path, digest, status_of(path), new if is_new else None, f"m{self.model}")
                if is_new:
                    corrected = picture in before and not before[picture].startswith("model ")
                    self.captions[picture] = before[picture] if corrected else text
        if flushes:
            self.album.flush()
        else:
            self.album._db.close()
            self.album._new.clear()
            self.album = self.opened()
            self.recount(before)

    def recount(self, before: dict[str, str]) -> None:
        """After a kill, the album has what was written: each picture as before, or captioned."""
        entries = {self.picture_of(entry.generated.text): entry for entry in self.album.entries()}
        for picture, text in list(self.captions.items()):
            if picture not in before and picture not in entries:
                del self.captions[picture]
            elif text.startswith("model ") and picture in entries:
                self.captions[picture] = entries[picture].caption.text
                assert self.captions[picture] in (before.get(picture), text)

    @staticmethod
    def picture_of(text: str) -> str:
        return text.partition(" of ")[2]

    @rule(name=NAMES, text=TEXTS)
    def correct_on_the_page(self, name: str, text: str) -> None:
        for entry in self.album.entries([self.root / name]):
            self.album.correct(entry.id, (text, []), "page")
            self.captions[self.picture_of(entry.generated.text)] = text

    @rule(name=NAMES)
    def take_back_on_the_page(self, name: str) -> None:
        for entry in self.album.entries([self.root / name]):
            self.album.correct(entry.id, None, "page")
            self.captions[self.picture_of(entry.generated.text)] = entry.generated.text

    @rule(table=TABLES, row=st.integers(0, 4), text=TEXTS, form=FORMS, moved=st.booleans())
    def edit_a_table(self, table: str, row: int, text: str, form: tuple[str, str, str], moved: bool) -> None:
        """Edit a cell as another program saves it, perhaps under another name, then run a command on it."""
        path = self.root / table
        if path.exists():
            rows = [*csv.DictReader(io.StringIO(self.text(path), newline=""), delimiter=self.delimiter(path))]
            if rows:
                row %= len(rows)
                old = " ".join(unescape_cell(rows[row]["caption"]).split())
                rows[row]["caption"] = text
                delimiter, encoding, end = form
                saved = io.StringIO(newline="")
                writer = csv.DictWriter(saved, rows[0], delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
                writer.writeheader()
                writer.writerows(reversed(rows))
                path = self.root / "moved.csv" if moved else path
                path.write_bytes(saved.getvalue().encode(encoding))
                written = " ".join(unescape_cell(text).split())
                if written != old:
                    self.captions[self.picture_of(rows[row]["generated_caption"])] = written
        self.export(path.name)

    @rule(table=TABLES, restores=st.booleans())
    def go_back_to_an_older_table(self, table: str, restores: bool) -> None:
        """Keep a copy of a table, or put the copy in its place."""
        path = self.root / table
        if restores and table in self.stale:
            path.write_bytes(self.stale[table])
            self.export(table)
        elif path.exists():
            self.stale[table] = path.read_bytes()

    @staticmethod
    def text(path: Path) -> str:
        content = path.read_bytes()
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")

    def delimiter(self, path: Path) -> str:
        return next(each for each in ",;\t" if f"caption{each}" in self.text(path).replace('"', ""))

    @rule(table=TABLES)
    def export(self, table: str) -> None:
        read = read_table(self.root / table)
        assert all(" replaces " in problem for problem in take_corrections(self.album, read)[1])
        write_table(self.album, read, self.photos())
        images = [row.values["image"] for row in read_table(self.root / table).rows]
        assert len({*images}) == len(images)
        known = {os.path.relpath(entry.path, self.root) for entry in self.album.entries(self.photos())}
        assert known <= {*images}

    @precondition(lambda self: self.captions)
    @rule()
    def forget_missing(self) -> None:
        self.album.forget([entry.path for entry in self.album.entries() if not entry.path.exists()])

    @invariant()
    def the_album_has_what_counts(self) -> None:
        for entry in self.album.entries():
            assert entry.caption.text == self.captions[self.picture_of(entry.generated.text)]
        for path in self.photos():
            if self.album.known(path):
                (entry,) = self.album.entries([path])
                assert self.picture_of(entry.generated.text) == self.picture(str(path.relative_to(self.root)))


def settings_of(sequences: int) -> settings:
    """Return the settings for a number of sequences."""
    return settings(
        max_examples=sequences, stateful_step_count=20, deadline=None, database=None, print_blob=False,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


def hold(first: int, number: int) -> Outcome:
    """Run `SEQUENCES` random sequences."""
    machine = seed(first + number)(type("Seeded", (Photographs,), {}))
    try:
        run_state_machine_as_test(machine, settings=settings(settings_of(SEQUENCES), phases=[Phase.generate]))
    except Exception as error:  # an assertion, or an error of the album
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    return Outcome("equal")


def measure(session: Session) -> Iterator[Row]:
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(session.scratch))  # not the current folder
    yield session.run(
        f"{SEQUENCES} random sequences of 20 steps: photographs are captioned, renamed, copied, rewritten and deleted, "
        "tables and the page are corrected, a process is killed",
        "the album has what a dict has",
        partial(hold, session.seed),
        100,
    )
