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
from contextlib import suppress
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

    `words` are its tokens separated by spaces, if the file has tokens. `line` is the location in the file.
    `source` is the name of the collection that the image is from. `coco_id` is the `id` of the image in a COCO file, or
    its `cocoid` in a Karpathy file. `file` is the caption file as the command names it.
    """

    image: str
    text: str
    split: str | None
    line: str
    words: str | None = None
    source: str | None = None
    coco_id: int | None = None
    file: str = ""


class Issue(NamedTuple):
    """A problem in a data file at `line`, such as `captions.csv:812`; `image` is that of the caption.

    An issue with a `kind` is not an error: it is counted under that name.
    """

    line: str
    problem: str
    image: str | None = None
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

    `split` overrides the split of every caption.

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
    for record in _parse(path, text, columns or Columns()):
        if isinstance(record, CaptionRecord):
            record = _validate(record._replace(split=split_name(split or record.split)))
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
    """The text of a caption file, its content if it is a JSON document, and the names of its columns."""

    path: Path
    text: str
    content: Any = None
    columns: Columns = Columns()


class Format(NamedTuple):
    """A format of caption files: how it is recognized and read, and whether its columns have names."""

    matches: Callable[[CaptionFile], bool]
    read: Callable[[CaptionFile], Iterator[CaptionRecord | Issue]]
    has_columns: bool = True


def _lists(content: object, *keys: str) -> bool:
    """Return whether a JSON document has lists under these keys."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys)


def _parse(path: Path, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    may_be_json = text.lstrip()[:1] in ("{", "[") and path.suffix.lower() not in (".jsonl", ".ndjson")
    file = CaptionFile(path, text, _json(path, text) if may_be_json else None, columns)
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
        with suppress(ValueError, RecursionError):
            if isinstance(json.loads(re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]), dict):
                return None
        raise DataError(f"{path}: invalid JSON: {error}") from error


def _validate(record: CaptionRecord) -> CaptionRecord | Issue:
    """Check that the texts are valid UTF-8, and normalize the image name."""
    names = {"split": record.split or "", "source": record.source or ""}
    for field, text in {"image": record.image, "caption": record.text, **names}.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = f"{field}: expected UTF-8 text, got {text[error.start]!r}"
            return Issue(record.line, problem, record.image)
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


def table(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    """Read a table with the columns `image`, `caption` and optionally `split`; detect the separator from the header.

    Raises: as `table_rows`; DataError for a table of captioner without the columns by which corrections are recognized.
    """
    for line, values in table_rows(file.path.name, file.text, file.columns):
        if not isinstance(values, str) and is_captioned(values):
            values = {key: unescape_cell(cell) for key, cell in values.items()}
            values["image"] = unescape_path(values["image"])
        elif not isinstance(values, str) and (
            values.keys() & {*GENERATED, "log_prob"} or ("keywords" in values and file.columns == Columns())
        ):
            missing = " and ".join(column for column in NEEDED if column not in values)
            raise DataError(
                f"{file.path.name}: expected the columns {', '.join(NEEDED[2:])} of captioner, which show what you "
                f"corrected, got no {missing}; restore them, or to use all captions leave the last two empty"
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


def token_txt(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    """Read Flickr8k.token.txt: `1000268201.jpg#0<TAB>A child in a pink dress .`"""
    for line, row in _lines(file):
        match = TOKEN.fullmatch(row)
        if match is None:
            yield Issue(line, f"expected IMAGE#NUMBER, a tab and a caption, got {quoted(row)}")
        else:
            yield _record(line, match.groupdict())


def json_lines(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    """Read JSON lines: `{"image": "a.jpg", "caption": "a dog"}`."""
    for line, row in _lines(file):
        try:
            content = parse_json(row)
        except (ValueError, RecursionError) as error:
            yield Issue(line, f"invalid JSON: {error}")
            continue
        if isinstance(content, dict):
            yield _record(line, {key: content.get(column) for key, column in file.columns._asdict().items()})
        else:
            expected = f"an object with {file.columns.image} and {file.columns.caption}"
            yield Issue(line, f"expected {expected}, got {quoted(content)}")


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


def _lines(file: CaptionFile) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(io.StringIO(file.text, newline=None), 1):
        if row.strip():
            yield f"{file.path.name}:{number}", row.removesuffix("\n")


def _record(line: str, values: Mapping[str, Any]) -> CaptionRecord | Issue:
    """Return the caption of an entry, by the fields of `Columns` and `CaptionRecord`, or what is wrong with it."""
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
    source = values["source"].strip() if _is_text(values.get("source")) else None
    return CaptionRecord(image, caption, split, line, values.get("words"), source, values.get("coco_id"))


def is_captioned(values: Mapping[str, Any]) -> bool:
    """Return whether a row is of a table of `captioner caption`."""
    return all(values.get(name) is not None for name in NEEDED)


def karpathy(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    """Read Karpathy's format: `{"images": [{"filename", "split", "sentences": [{"tokens", "raw"}]}]}`.

    A second image of the same name is an issue: its captions may be those of another photograph.
    """
    seen: set[str] = set()
    for number, image in enumerate(file.content["images"]):
        where = f"{file.path.name}: images[{number}]"
        if not isinstance(image, dict) or not _is_text(image.get("filename")):
            yield Issue(where, f"expected an object with a filename, got {quoted(image)}")
            continue
        folder = f"{image['filepath'].strip().rstrip('/')}/" if _is_text(image.get("filepath")) else ""
        name, sentences = folder + image["filename"].strip(), image.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            yield Issue(where, f"expected a list of sentences, got {quoted(sentences)}", name)
        elif image_name(name) in seen:
            yield Issue(where, f"{name:.80}: a second image of this name; skipped", name)
        else:
            seen.add(image_name(name))
            coco_id = image["cocoid"] if type(image.get("cocoid")) is int else None
            values = {"image": name, "split": image.get("split"), "source": image.get("source"), "coco_id": coco_id}
            for index, sentence in enumerate(sentences):
                yield _sentence(f"{where}.sentences[{index}]", sentence, values)


def _sentence(line: str, sentence: object, image: Mapping[str, Any]) -> CaptionRecord | Issue:
    """Read a sentence of Karpathy's format; without raw text, its tokens are the text."""
    if not isinstance(sentence, dict):
        return Issue(line, f"expected raw text or tokens, got {quoted(sentence)}")
    raw, tokens = sentence.get("raw"), sentence.get("tokens")
    if tokens is not None and not (isinstance(tokens, list) and all(map(_is_token, tokens))):
        return Issue(line, f"tokens: expected a list of words, got {quoted(tokens)}")
    words = " ".join(tokens) if tokens else None
    return _record(line, {**image, "caption": raw if _is_text(raw) else words or raw, "words": words})


def coco(file: CaptionFile) -> Iterator[CaptionRecord | Issue]:
    """Read COCO's format: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`.

    The split is that in the name of the file. A second image of the same name is an issue, as in `karpathy`.
    """
    split, images, lines, seen = split_in_name(file.path), dict[int, dict[str, Any]](), dict[int, str](), set[str]()
    for number, image in enumerate(file.content["images"]):
        where = f"{file.path.name}: images[{number}]"
        if not isinstance(image, dict) or type(image.get("id")) is not int or not _is_text(image.get("file_name")):
            yield Issue(where, f"expected an object with an id and a file_name, got {quoted(image)}")
        elif image["id"] in images:
            yield Issue(where, f"duplicate id {image['id']}")
        elif (name := image_name(image["file_name"])) in seen:
            yield Issue(where, f"{name:.80}: a second image of this name; skipped")
        else:
            seen.add(name)
            images[image["id"]] = {
                "image": image["file_name"], "split": split, "source": image.get("source"), "coco_id": image["id"]
            }  # fmt: skip
            lines[image["id"]] = where
    for number, annotation in enumerate(file.content["annotations"]):
        line = f"{file.path.name}: annotations[{number}]"
        if not isinstance(annotation, dict):
            yield Issue(line, f"expected an object with a caption, got {quoted(annotation)}")
        elif type(key := annotation.get("image_id")) is not int or key not in images:
            yield Issue(line, f"image_id: expected the id of an image, got {quoted(key)}")
        else:
            lines.pop(key, None)
            yield _record(line, {**images[key], "caption": annotation.get("caption")})
    for key, line in lines.items():  # of images that no annotation has
        yield Issue(line, f"{images[key]['image']}: has no caption", images[key]["image"])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value] and value.isprintable()


FORMATS: Mapping[str, Format] = {
    "coco": Format(lambda file: _lists(file.content, "images", "annotations"), coco, has_columns=False),
    "karpathy": Format(lambda file: _lists(file.content, "images"), karpathy, has_columns=False),
    "json lines": Format(
        lambda file: file.text.lstrip()[:1] == "{" and (file.content is None or file.columns.image in file.content),
        json_lines,
    ),
    "token.txt": Format(lambda file: TOKEN.match(file.text.lstrip()) is not None, token_txt, has_columns=False),
    "table": Format(lambda file: file.content is None and bool(file.text.strip()), table),
}
"""The formats of caption files; the first that matches is used."""
