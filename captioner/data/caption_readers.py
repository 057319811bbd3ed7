"""Read caption files: tables (CSV and TSV with a header, Flickr's token.txt, JSON lines), Karpathy's dataset.json and
COCO's captions_*.json, as a stream of captions and issues. The format is detected from the content.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from captioner.data.image_names import image_name
from captioner.data.table_cells import GENERATED, NEEDED, is_corrected, unescape_cell, unescape_path
from captioner.errors import DataError, UsageError, quoted
from captioner.files.user_files import format_of, read_bytes, read_text

LIMIT = 1 << 30
EXPECTED = (
    "expected CSV or TSV with a header, JSON lines, Flickr's token.txt, Karpathy's dataset.json or COCO's "
    "captions_*.json"
)
EXAMPLE = (
    "give a file in it, or write a table captions.csv with the first line image,caption and then one line per caption, "
    "such as dog.jpg,A dog runs"
)


class CaptionRecord(NamedTuple):
    """One caption of a file.

    `words` are its tokens separated by spaces, if the file has tokens. `row` is the feature row of the image, if the
    file numbers its images: its `imgid`, or its position among `rows` images. `line` is the location in the file.
    `source` is the name of the collection that the image is from. `coco_id` is the `id` of the image in a COCO file, or
    its `cocoid` in a Karpathy file. `file` is the caption file as the command names it.
    """

    image: str
    text: str
    split: str | None
    line: str
    words: str | None = None
    row: int | None = None
    rows: int | None = None
    source: str | None = None
    coco_id: int | None = None
    file: str = ""


class Issue(NamedTuple):
    """A problem in a data file at `line`, such as `captions.csv:812`; `image` and `row` are those of the caption.

    An issue with a `kind` is not an error: it is counted under that name.
    """

    line: str
    problem: str
    image: str | None = None
    row: int | None = None
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.line}: {self.problem}"


class Columns(NamedTuple):
    """Names of the columns of a table, or of the keys of JSON lines; the last are those of `captioner caption`."""

    image: str = "image"
    caption: str = "caption"
    split: str = "split"
    source: str = "source"
    keywords: str = "keywords"
    generated_caption: str = "generated_caption"
    generated_keywords: str = "generated_keywords"
    marks: str = "marks"
    log_prob: str = "log_prob"


SPLITS = {"restval": "train", "training": "train", "testing": "test"} | dict.fromkeys(
    ("valid", "validation", "dev"), "val"
)
"""Aliases of split names; Karpathy's restval is used for training."""
_SPLIT = re.compile(rf"(?<![a-z])(?:{'|'.join(('train', 'val', 'test', *SPLITS))})(?![a-z])")


def split_name(text: str | None) -> str | None:
    """Normalize a split name: Training becomes train; unknown names are unchanged."""
    name = (text or "").lower()
    return SPLITS.get(name, name) if name in ("train", "val", "test", *SPLITS) else text


def parse_json(text: str) -> Any:
    """Parse JSON. Raises: ValueError, also for a duplicate key; RecursionError."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"duplicate key {quoted(key)}")
        content[key] = value
    return content


def read_captions(
    path: Path, columns: Columns | None = None, split: str | None = None
) -> Iterator[CaptionRecord | Issue]:
    """Read the captions and issues of a file in file order; the format is detected from the content.

    `split` overrides the split of every caption. Captions of an image that the file numbers twice are issues: they may
    be those of two photographs.

    Raises: DataError when the file cannot be read or its format is unsupported.
    """
    if os.path.isdir(path):
        table = path / "captions.csv"
        remedy = f"did you mean {table}?" if table.is_file() else EXAMPLE
        raise DataError(f"{path}: expected a caption file, got a folder; {remedy}")
    content = read_bytes(path, LIMIT, expected="a caption file")
    if b"\0" in content[:4096]:
        raise DataError(f"{path}: {EXPECTED}, got {format_of(content)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:  # with an older encoding, the words of a language would be missing
        line, got = content.count(b"\n", 0, error.start) + 1, content[error.start : error.start + 1]
        raise DataError(f"{path}:{line}: expected UTF-8 text, got {got!r}; save the file as UTF-8") from error
    rows: dict[str, int | None] = {}
    for record in _parse(path, text, columns or Columns(), split):
        if isinstance(record, CaptionRecord):
            record = _validate(record._replace(split=split_name(split or record.split)))
        if isinstance(record, CaptionRecord) and rows.setdefault(record.image, record.row) != record.row:
            both = f"{rows[record.image]} and {record.row}"
            problem = f"{record.image:.80}: expected one image of this name, got {both}; skipped"
            record = Issue(record.line, problem, record.image, record.row)
        yield record


def split_in_name(path: Path) -> str | None:
    """Return the split in a file name such as captions_train2014.json, or None without exactly one."""
    splits = {SPLITS.get(split, split) for split in _SPLIT.findall(path.stem.lower())}
    return splits.pop() if len(splits) == 1 else None


def read_list(path: Path) -> list[str]:
    """Read image names from a file with one per line, such as Flickr_8k.trainImages.txt.

    Raises: DataError when the file cannot be read.
    """
    return [
        image_name(line)
        for line in re.split(r"[\r\n]", read_text(path, "a file with an image name per line"))
        if line.strip()
    ]


class CaptionFile(NamedTuple):
    """The text of a caption file, its content if it is a JSON document, and the options of its reader."""

    path: Path
    text: str
    content: Any
    columns: Columns
    split: str | None


class Format(NamedTuple):
    """A format of caption files: how it is recognized and read, and whether its columns have names."""

    matches: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], Iterator[CaptionRecord | Issue]]
    has_columns: bool = True


def _lists(content: object, *keys: str) -> bool:
    """Return whether a JSON document has lists under these keys."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys)


def _has_entries(file: CaptionFile) -> bool:
    """Return whether a JSON document is an object of one image, or a list that begins with an object."""
    match file.content:
        case [dict(), *_]:
            return True
        case dict() as entry:
            return file.columns.image in entry
    return False


def _entries(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    if isinstance(file.content, dict):  # JSON lines with one line
        yield from json_entry(f"{file.path.name}:1", file.content, file.columns)
        return
    for number, entry in enumerate(file.content):
        yield from json_entry(f"{file.path.name}: [{number}]", entry, file.columns)


FORMATS: Mapping[str, Format] = {
    "coco": Format(
        lambda file: _lists(file.content, "images", "annotations"),
        lambda file: coco(file.path.name, file.content, file.split or split_in_name(file.path)),
        has_columns=False,
    ),
    "karpathy": Format(
        lambda file: _lists(file.content, "images"),
        lambda file: karpathy(file.path.name, file.content),
        has_columns=False,
    ),
    "json": Format(_has_entries, _entries),
    "json lines": Format(
        lambda file: file.content is None and file.text.lstrip()[:1] == "{",
        lambda file: json_lines(file.path.name, file.text, file.columns),
    ),
    "token.txt": Format(
        lambda file: TOKEN.match(file.text.lstrip()) is not None,
        lambda file: token_txt(file.path.name, file.text),
        has_columns=False,
    ),
    "table": Format(
        lambda file: file.content is None and bool(file.text.strip()),
        lambda file: table(file.path.name, file.text, file.columns),
    ),
}
"""The formats of caption files; the first that matches is used."""


def _parse(path: Path, text: str, columns: Columns, split: str | None) -> Iterator[CaptionRecord | Issue]:
    may_be_json = text.lstrip()[:1] in ("{", "[") and path.suffix.lower() not in (".jsonl", ".ndjson")
    file = CaptionFile(path, text, _json(path, text) if may_be_json else None, columns, split)
    form = next((form for form in FORMATS.values() if form.matches(file)), None)
    if form is None:
        raise DataError(f"{path}: {EXPECTED}, got {_got(file.content)}")
    if columns != Columns() and not form.has_columns:
        options = "--image-column, --caption-column and --split-column"
        raise UsageError(f"{path}: {options} have no effect on this format; leave them out")
    return form.read(file)


def _got(content: Any) -> str:
    """Describe the JSON document of a file of no format."""
    if content is None:
        return "an empty file"
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__}"
    keys = ", ".join(map(quoted, list(content)[:8]))
    return f"a JSON object with {f'the keys {keys}' if keys else 'no keys'}"


def _json(path: Path, text: str) -> Any:
    """Parse a JSON document; return None for JSON lines."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        try:
            first = json.loads(re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0])
        except (ValueError, RecursionError):
            raise DataError(f"{path}: invalid JSON: {error}") from error
        if isinstance(first, dict):
            return None
        raise DataError(f"{path}: {EXPECTED}, got JSON lines of type {type(first).__name__}") from error


def _validate(record: CaptionRecord) -> CaptionRecord | Issue:
    """Check that the texts are valid UTF-8, and normalize the image name."""
    names = {"split": record.split or "", "source": record.source or ""}
    for field, text in {"image": record.image, "caption": record.text, **names}.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = f"{field}: expected UTF-8 text, got {text[error.start]!r}"
            return Issue(record.line, problem, record.image, record.row)
    image = image_name(record.image)
    if "\0" in image or image.endswith("/") or "\ufeff" in image:  # a byte order mark, of files that were joined
        return Issue(record.line, f"image: expected a name, got {quoted(image)}")
    return record._replace(image=image)


# --- formats

DELIMITERS = (",", "\t", ";", "|")
MAX_FIELD = 1 << 20
MAX_RECORD_LINES = 100
"""Without a bound, an unclosed quote in every line would take quadratic time."""
TOKEN: re.Pattern[str] = re.compile(r"(?P<image>[^\t\r\n]+?)#\d+\t(?P<caption>.*)")


def table(name: str, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """Read a table with the columns `image`, `caption` and optionally `split`; detect the separator from the header.

    Raises: as `table_rows`; DataError for a table of captioner without the columns by which corrections are recognized.
    """
    for line, values in table_rows(name, text, columns):
        if not isinstance(values, str) and is_captioned(values):
            values = {key: unescape_cell(cell) for key, cell in values.items()}
            values["image"] = unescape_path(values["image"])
        elif not isinstance(values, str) and (
            values.keys() & {*GENERATED, "log_prob"} or ("keywords" in values and columns == Columns())
        ):
            missing = " and ".join(column for column in NEEDED if column not in values)
            raise DataError(
                f"{name}: expected the columns {', '.join(NEEDED[2:])} of captioner, which show what you corrected, "
                f"got no {missing}; restore them, or to use all captions leave the last two empty"
            )
        yield Issue(line, values) if isinstance(values, str) else _record(line, values)


def table_rows(name: str, text: str, columns: Columns) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield the location of each row of a table, and its cells by the fields of `columns`, or its problem.

    Raises: DataError when a column is missing from the header.
    """
    header = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    records = _records(text, delimiter)
    first, cells = next(records, (1, ""))
    names = [cell.strip() for cell in cells]
    columns_at = _column_indices(f"{name}:{first}", names, header, columns)
    for number, cells in records:
        named = cells if isinstance(cells, str) else {key: cells[place] for key, place in columns_at.items()}
        yield f"{name}:{number}", named


def token_txt(name: str, text: str) -> Iterator[CaptionRecord | Issue]:
    """Read Flickr8k.token.txt: `1000268201.jpg#0<TAB>A child in a pink dress .`"""
    for line, row in _lines(name, text):
        match = TOKEN.fullmatch(row)
        if match is None:
            yield Issue(line, f"expected IMAGE#NUMBER, a tab and a caption, got {quoted(row)}")
        else:
            yield _record(line, match.groupdict())


def json_lines(name: str, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """Read JSON lines: `{"image": "a.jpg", "caption": "a dog"}`; `caption` may be a list of captions."""
    for line, row in _lines(name, text):
        try:
            content = parse_json(row)
        except (ValueError, RecursionError) as error:
            yield Issue(line, f"invalid JSON: {error}")
        else:
            yield from json_entry(line, content, columns)


def json_entry(line: str, content: object, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """Read the captions of one JSON object."""
    if not isinstance(content, dict):
        yield Issue(line, f"expected an object with {columns.image} and {columns.caption}, got {quoted(content)}")
        return
    values = {key: content.get(column) for key, column in columns._asdict().items()}
    captions = values["caption"]
    for caption in captions if isinstance(captions, list) and captions else [captions]:
        yield _record(line, {**values, "caption": caption})


def _column_indices(line: str, names: list[str], header: str, columns: Columns) -> dict[str, int]:
    """Find the columns in the header; case is ignored unless two columns differ only by case.

    The split column is optional unless its name is configured; others are ignored if they are not unique.

    Raises: DataError for a duplicate or missing column.
    """
    places: dict[str, int] = {}
    for key, column in columns._asdict().items():
        matches = [place for place, name in enumerate(names) if name == column]
        matches = matches or [place for place, name in enumerate(names) if name.lower() == column.lower()]
        if len(matches) > 1 and key in ("image", "caption", "split"):
            raise DataError(f"{line}: expected the column {column} once, got {header!r:.80}; rename the others")
        if len(matches) == 1:
            places[key] = matches[0]
    required = ["image", "caption"] + (["split"] if columns.split != Columns().split else [])
    if not set(required) <= set(places):
        expected = [getattr(columns, key) for key in required]
        remedy = "rename yours, or set them with --image-column and --caption-column of `captioner prepare`"
        if any(re.search(r"\.(jpe?g|png|webp|hei[cf]|tiff?)$", name, re.IGNORECASE) for name in names):
            remedy = f"before this caption, add a line {max(DELIMITERS, key=header.count).join(expected)!r}"
        raise DataError(
            f"{line}: expected a header with the columns {' and '.join(expected)}, got {header!r:.80}; {remedy}"
        )
    return places


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the non-blank records of a table, or a problem, each with the number of its first line.

    After a problem, reading continues on the next line, so that an unclosed quote does not hide the lines after it.
    """
    csv.field_size_limit(MAX_FIELD)
    file, number, width = io.StringIO(text, newline=""), 1, 0
    while True:
        start = file.tell()
        rows = csv.reader(islice(file, MAX_RECORD_LINES), delimiter=delimiter, strict=True)
        problem = ""
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"invalid CSV: {error}; close every quote, and double quotes inside quotes"
        else:
            if any(cell.strip() for cell in cells):
                width = width or len(cells)
                if len(cells) == width:
                    yield number, cells
                else:
                    problem = f"expected {width} columns, got {len(cells)}; quote captions that contain {delimiter!r}"
        if problem:
            yield number, problem
            file.seek(start)
            file.readline()
        number += 1 if problem else rows.line_num


def _lines(name: str, text: str) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(io.StringIO(text, newline=None), 1):
        if row.strip():
            yield f"{name}:{number}", row.removesuffix("\n")


def _record(line: str, values: dict[str, Any]) -> CaptionRecord | Issue:
    image = values["image"] if _is_text(values.get("image")) else None
    if image and is_captioned(values):
        if not is_corrected(values):
            return Issue(line, "not corrected by a person", image, kind="uncorrected")
        if not str(values["caption"]).strip():
            return Issue(line, "a person removed the caption", image, kind="removed")
    for key in ("image", "caption"):
        if not _is_text(values.get(key)):
            got = "nothing" if values.get(key) in (None, "") else quoted(values[key])
            return Issue(line, f"{key}: expected text, got {got}", image)
    split = values.get("split")
    if split is not None and not isinstance(split, str):
        return Issue(line, f"split: expected a name, got {quoted(split)}", image)
    image, caption, split = values["image"].strip(), values["caption"].strip(), (split or "").strip() or None
    return CaptionRecord(image, caption, split, line, source=_source(values))


def is_captioned(values: dict[str, Any]) -> bool:
    """Return whether a row is of a table of `captioner caption`."""
    return all(values.get(name) is not None for name in NEEDED)


def karpathy(name: str, content: dict[str, Any]) -> Iterator[CaptionRecord | Issue]:
    """Read Karpathy's format: `{"images": [{"filename", "split", "imgid", "sentences": [{"tokens", "raw"}]}]}`."""
    has_imgids = any(isinstance(image, dict) and image.get("imgid") is not None for image in content["images"])
    rows = None if has_imgids else len(content["images"])
    for number, image in enumerate(content["images"]):
        where = f"{name}: images[{number}]"
        if not isinstance(image, dict) or not _is_text(image.get("filename")):
            yield Issue(where, f"expected an object with a filename, got {quoted(image)}")
            continue
        row = image.get("imgid") if has_imgids else number
        split, sentences = image.get("split"), image.get("sentences")
        folder = f"{image['filepath'].strip().rstrip('/')}/" if _is_text(image.get("filepath")) else ""
        coco_id = image["cocoid"] if type(image.get("cocoid")) is int else None
        is_row = row is None or (type(row) is int and row >= 0)
        if not (split is None or _is_text(split)) or not is_row:
            yield Issue(where, f"expected a split and an imgid >= 0, got {quoted(split)} and {quoted(row)}")
            continue
        if not isinstance(sentences, list) or not sentences:
            yield Issue(where, f"expected a list of sentences, got {quoted(sentences)}")
            continue
        for index, sentence in enumerate(sentences):
            line = f"{where}.sentences[{index}]"
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
            if tokens is not None and not (isinstance(tokens, list) and all(map(_is_token, tokens))):
                yield Issue(line, f"tokens: expected a list of words, got {quoted(tokens)}")
            elif not _is_text(raw) and not tokens:
                yield Issue(line, f"expected raw text or tokens, got {quoted(sentence)}")
            else:
                words = " ".join(tokens) if tokens else None
                text = raw.strip() if isinstance(raw, str) and raw.strip() else str(words)
                filename = folder + image["filename"].strip()
                split_of = split and split.strip()
                yield CaptionRecord(filename, text, split_of, line, words, row, rows, _source(image), coco_id)


def coco(name: str, content: dict[str, Any], split: str | None) -> Iterator[CaptionRecord | Issue]:
    """Read COCO's format: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`."""
    names: dict[Any, tuple[str, int, str | None]] = {}
    for number, image in enumerate(content["images"]):
        where = f"{name}: images[{number}]"
        if not isinstance(image, dict) or type(image.get("id")) is not int or not _is_text(image.get("file_name")):
            yield Issue(where, f"expected an object with an id and a file_name, got {quoted(image)}")
        elif image["id"] in names:
            yield Issue(where, f"duplicate id {image['id']}")
        else:
            names[image["id"]] = image["file_name"].strip(), number, _source(image)
    captioned: set[str] = set()
    for number, annotation in enumerate(content["annotations"]):
        line = f"{name}: annotations[{number}]"
        if not isinstance(annotation, dict) or not _is_text(annotation.get("caption")):
            yield Issue(line, f"expected an object with a caption, got {quoted(annotation)}")
        elif type(annotation.get("image_id")) is not int or annotation["image_id"] not in names:
            yield Issue(line, f"image_id: expected the id of an image, got {quoted(annotation.get('image_id'))}")
        else:
            image, row, source = names[annotation["image_id"]]
            captioned.add(image)
            text, rows = annotation["caption"].strip(), len(content["images"])
            yield CaptionRecord(image, text, split, line, None, row, rows, source, annotation["image_id"])
    for image, number, _ in names.values():
        if image not in captioned:
            yield Issue(f"{name}: images[{number}]", f"{image}: has no caption", image, number)


def _source(image: dict[str, Any]) -> str | None:
    return image["source"].strip() if _is_text(image.get("source")) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value] and value.isprintable()
