"""Valid captions are read exactly; any bytes give captions, issues or one error; no line of a table is dropped."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.data.caption_readers import FORMATS, CaptionRecord, Columns, Issue, read_captions
from captioner.errors import DataError, UsageError

PIECES = st.sampled_from(
    [
        b'image,caption\n', b"image\tcaption\tsplit\n", b"image;caption\r\n", b"a.jpg#0\tx\n", b"a,b\n", b'a,"b\n',
        b'"', b'""', b",", b"\t", b"\n", b"\r", b"\r\n", b" ", b"\0", b"\xff", b"\xff\xfe", b"\xfe\xff",
        b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xd8\0", b"{", b"}", b"[", b"]", b":", b'"\\ud800"',
        b'{"image": "a", "caption": "b"}',
        b'{"images": [', b'], "annotations": [', b"]}", b'{"id": 1, "file_name": "a"}',
        b'{"image_id": 1, "caption": "x"}',
        b'{"filename": "a", "split": "val", "sentences": [{"raw": "x"}]}', b"1e999", b"NaN", b"9" * 5000, b"[" * 2000,
        b"#0\t", b"null", b"true", b'"caption": [', b'"image": ', b"\xe2\x80\xa8", b"\x1c",
    ]
)  # fmt: skip
KEYS = [
    "images", "annotations", "id", "file_name", "image_id", "caption", "filename", "split", "sentences", "raw"
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.builds(
    lambda images, annotations: json.dumps({"images": images, "annotations": annotations}).encode(),
    st.lists(VALUES, max_size=4),
    st.lists(VALUES, max_size=4) | st.none(),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@given(
    st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=40) | DOCUMENTS, st.sampled_from(["c", "c.jsonl"])
)
@example(b'"abc', "c")
@example(b'{"image": ' + b"[" * 985 + b"]" * 985 + b"}", "c")
@example(b'{"images": [], "annotations": [{"image_id": []}]}', "c")
def test_any_bytes_give_records_issues_or_an_error(scratch, content, name):
    path = scratch / name
    path.write_bytes(content)
    records, message = [], ""
    try:
        records += read_captions(path)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    for record in records:
        assert isinstance(record, CaptionRecord | Issue)
        assert record.line.startswith(name)
        if isinstance(record, Issue):
            assert "\n" not in str(record)
        else:
            assert record.image == record.image.strip() != ""
            assert record.text == record.text.strip() != ""
            "".join([record.image, record.text, record.split or "", record.words or ""]).encode()


@given(st.lists(st.sampled_from(['a,"b"', 'a,"b', 'a,b"', "a,b,c", '"a,b', "", 'a,"""b"""', "c"]), max_size=8))
def test_no_line_of_a_table_is_dropped_silently(scratch, lines):
    """Every line that is not blank has a caption or an issue, or is inside a quoted caption that begins above."""
    path = scratch / "t.csv"
    path.write_text("\n".join(["image,caption", *lines]))
    covered = {1}
    for record in read_captions(path):
        first = int(record.line.partition(":")[2])
        assert first not in covered
        more = record.text.count("\n") if isinstance(record, CaptionRecord) else 0
        covered |= set(range(first, first + more + 1))
    assert {number for number, line in enumerate(lines, 2) if line} <= covered


Pairs = list[tuple[str, str]]
IMAGES = st.from_regex(r"[a-z0-9]{1,8}([ &][a-z]{1,3})?\.(jpg|png)", fullmatch=True)
CAPTIONS = (
    st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from(",;|&<>\t\"'\n\\{}[]"), max_size=60)
    .map(lambda text: " ".join(text.split()))
    .filter(bool)
)


def table(pairs: Pairs, **options: str) -> str:
    text = io.StringIO()
    csv.writer(text, **options).writerows((("image", "caption"), *pairs))
    return text.getvalue()


def rows(pairs: Pairs) -> dict[str, int]:
    return {image: row for row, image in enumerate(dict(pairs))}


def karpathy(pairs: Pairs) -> str:
    images = [{"filename": image, "split": "train", "sentences": [{"raw": text}]} for image, text in pairs]
    return json.dumps({"images": images, "dataset": "mine"})


def coco(pairs: Pairs) -> str:
    annotations = [{"image_id": rows(pairs)[image], "caption": text} for image, text in pairs]
    images = [{"id": row, "file_name": image} for image, row in rows(pairs).items()]
    return json.dumps({"images": images, "annotations": annotations})


WRITERS: dict[str, tuple[str, Callable[[Pairs], str]]] = {
    "captions.csv": ("table", table),
    "captions.tsv": ("table", lambda pairs: table(pairs, delimiter="\t")),
    "captions.jsonl": (
        "json lines",
        lambda pairs: "".join(json.dumps({"image": i, "caption": c}) + "\n" for i, c in pairs),
    ),
    "Flickr8k.token.txt": ("token.txt", lambda pairs: "".join(f"{i}#{row}\t{c}\n" for row, (i, c) in enumerate(pairs))),
    "dataset.json": ("karpathy", karpathy),
    "captions_train.json": ("coco", coco),
}
"""Files by name, with their format and how they are written."""


BROKEN = {
    "table": ("captions.csv", 'image,caption\na.jpg\nb.jpg,a cat\n', ["captions.csv:2"], True),
    "json lines": ("c.jsonl", '{"image": "a.jpg"}\n{"image": "b.jpg", "caption": "a cat"}\n', ["c.jsonl:1"], True),
    "token.txt": ("c.token.txt", "b.jpg#0\ta cat\na.jpg a dog\n", ["c.token.txt:2"], False),
    "karpathy": (
        "dataset.json", '{"images": [{"filename": 1, "sentences": []}, {"filename": "b.jpg", "sentences": [{"raw": '
        '"a cat"}]}]}', ["dataset.json: images[0]"], False,
    ),
    "coco": (
        "c.json", '{"images": [{"id": 1, "file_name": "b.jpg"}], "annotations": [{"image_id": 2, "caption": "a dog"}, '
        '{"image_id": 1, "caption": "a cat"}]}', ["c.json: annotations[0]"], False,
    ),
}  # fmt: skip
"""A file of each format with a caption of b.jpg, the lines of its issues, and whether its columns have names."""


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_caption_is_an_issue_with_its_line(form: str, tmp_path: Path) -> None:
    name, text, lines, has_columns = BROKEN[form]
    assert {form for form, _ in WRITERS.values()} == set(FORMATS)
    (tmp_path / name).write_text(text)
    found = list(read_captions(tmp_path / name))
    assert [each.line for each in found if isinstance(each, Issue)] == lines
    assert [(each.image, each.text) for each in found if isinstance(each, CaptionRecord)] == [("b.jpg", "a cat")]
    if has_columns:
        (tmp_path / name).write_text(text.replace("image", "photo"))
        columns = Columns(image="photo")
        assert "b.jpg" in [each.image for each in read_captions(tmp_path / name, columns)]
    else:
        with pytest.raises(UsageError, match="have no effect on this format"):
            list(read_captions(tmp_path / name, Columns(image="photo")))


@pytest.mark.parametrize("name", WRITERS)
@given(
    pairs=st.lists(st.tuples(IMAGES, CAPTIONS), min_size=1, max_size=12),
    encoding=st.sampled_from(("utf-8", "utf-8-sig")),
)
def test_valid_captions_are_read_exactly(scratch, name, pairs, encoding):
    if name == "dataset.json":  # all captions of an image are in one entry
        pairs = [*dict(pairs).items()]
    (scratch / name).write_bytes(WRITERS[name][1](pairs).encode(encoding))
    assert [(record.image, record.text) for record in read_captions(scratch / name)] == pairs
