"""Fuzz the caption readers with hypothesis: valid files are read exactly, damaged ones yield captions and issues."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from captioner.data.readers import CaptionRecord, Issue, read_captions
from captioner.errors import DataError
from faults import watch
from faults.session import Row, Session, row
from faults.watch import Outcome

EXAMPLES = 50
"""Files per trial."""
Pairs = list[tuple[str, str]]
LETTERS = st.characters(exclude_categories=("Cs", "Cc"))
IMAGES = st.from_regex(r"[a-z0-9]{1,8}( [a-z]{1,3})?\.(jpg|png)", fullmatch=True)
CAPTIONS = (
    st.text(LETTERS | st.sampled_from(",;|\t\"'\n\\{}[]"), min_size=1, max_size=60)
    .map(lambda text: " ".join(text.split()))
    .filter(lambda text: bool(text) and text.strip() == text)
)
PAIRS = st.lists(st.tuples(IMAGES, CAPTIONS), min_size=1, max_size=12)


def _csv(pairs: Pairs) -> str:
    text = io.StringIO()
    csv.writer(text).writerows((("image", "caption"), *pairs))
    return text.getvalue()


def _karpathy(pairs: Pairs) -> str:
    images = [{"filename": image, "split": "train", "sentences": [{"raw": text}]} for image, text in pairs]
    return json.dumps({"images": images, "dataset": "mine"})


def _coco(pairs: Pairs) -> str:
    images = [{"id": k, "file_name": image} for k, (image, _) in enumerate(pairs)]
    return json.dumps(
        {"images": images, "annotations": [{"image_id": k, "caption": t} for k, (_, t) in enumerate(pairs)]}
    )


FORMATS: Mapping[str, tuple[str, Callable[[Pairs], str]]] = {
    "CSV": ("captions.csv", _csv),
    "TSV": ("captions.tsv", lambda pairs: "image\tcaption\n" + "".join(f"{i}\t{_quoted(c)}\n" for i, c in pairs)),
    "JSON lines": (
        "captions.jsonl",
        lambda pairs: "".join(json.dumps({"image": i, "caption": c}) + "\n" for i, c in pairs),
    ),
    "token.txt": ("Flickr8k.token.txt", lambda pairs: "".join(f"{i}#{k}\t{c}\n" for k, (i, c) in enumerate(pairs))),
    "Karpathy": ("dataset.json", _karpathy),
    "COCO": ("captions_train.json", _coco),
}
"""Format name to file name and writer."""


def _quoted(caption: str) -> str:
    return '"' + caption.replace('"', '""') + '"'


class Case(NamedTuple):
    """A caption file, and the expected pairs if it is valid."""

    name: str
    content: bytes
    pairs: Pairs | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    name, write = FORMATS[draw(st.sampled_from(sorted(FORMATS)))]
    pairs = draw(PAIRS)
    content = write(pairs).encode(draw(st.sampled_from(("utf-8", "utf-8-sig"))))
    edits = draw(st.integers(0, 4))
    for _ in range(edits):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 20, len(content))))
        piece = draw(
            st.binary(max_size=6)
            | st.sampled_from((b'"', b"\n", b"\r", b"\0", b"{", b"[" * 3000, b"\xff", b"\t", b"#1\t"))
        )
        content = content[:start] + piece + content[end:]
    return Case(name, content, None if edits else pairs)


def check(case: Case, folder: Path) -> None:
    """Read the file and check the result. Raises: AssertionError, or an unexpected exception of a reader."""
    path = folder / case.name
    path.write_bytes(case.content)
    found, refusal = [], ""
    try:
        found = list(read_captions(path))
    except DataError as error:
        refusal = str(error)
    if refusal:
        assert case.pairs is None, f"a valid file is refused: {refusal}"
        assert case.name in refusal, f"names no file: {refusal}"
        assert "\n" not in refusal, f"more than a line: {refusal}"
    for one in found:
        if isinstance(one, Issue):
            assert one.line
            assert one.problem
        else:
            one.text.encode()
            one.image.encode()
            assert one.text.strip()
            assert one.image.strip()
    if case.pairs is not None:
        records = [(one.image, one.text) for one in found if isinstance(one, CaptionRecord)]
        assert records == case.pairs, f"{records} instead of {case.pairs}"
        assert len(records) == len(found), "issues in a valid file"


@dataclass(frozen=True)
class Fuzzed:
    """Trial k is the k-th run of hypothesis, with `EXAMPLES` files."""

    folder: Path
    seed: int

    def __call__(self, number: int) -> Outcome:
        folder = self.folder / str(os.getpid())
        folder.mkdir(exist_ok=True)

        @seed(self.seed + number)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def run(case: Case) -> None:
            check(case, folder)

        try:
            run()
        except AssertionError as error:
            return Outcome("wrong", str(error))
        except Exception as error:
            return Outcome("traceback", f"{type(error).__name__}: {error}")
        return Outcome("as expected")


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("captions")
    tally = watch.run(Fuzzed(folder, session.seed), session.count(10_000 // EXAMPLES))
    tally.counts["as expected"] *= EXAMPLES
    yield row("caption files: CSV, TSV, JSON lines, token.txt, Karpathy, COCO", "valid files are read exactly", tally)
