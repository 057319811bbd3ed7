"""The format of a caption file is detected from its content, and unsupported files are rejected."""

import json
import os
from pathlib import Path

import pytest
from caption_documents import COCO, KARPATHY

from captioner.data import readers
from captioner.data.readers import read_captions
from captioner.errors import DataError

LINES = '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": "a cat"}\n'


@pytest.fixture
def refusal(reading, tmp_path):
    def read(content, name="c.csv", **options):
        with pytest.raises(DataError) as caught:
            reading(content, name, **options)
        message = str(caught.value)
        assert message.isprintable()
        return message.replace(f"{tmp_path}/", "")

    return read


@pytest.mark.parametrize("space", ["", "\n \n"])
@pytest.mark.parametrize("name", ["captions.txt", "captions", "captions.json"])
@pytest.mark.parametrize(
    ("content", "split"),
    [
        ("image,caption\na.jpg,a dog\n", None),
        ("image\tcaption\na.jpg\ta dog", None),
        ("a.jpg#0\ta dog\n", None),
        (json.dumps(KARPATHY), "train"),
        (json.dumps(KARPATHY, indent=1), "train"),
        (json.dumps(COCO), None),
        (json.dumps(COCO, indent=1), None),
        (LINES.splitlines()[0], None),
        (json.dumps(json.loads(LINES.splitlines()[0]), indent=1), None),
    ],
)
def test_the_format_is_detected_from_the_content(reading, content, split, name, space):
    assert reading(space + content, name) == [f"a.jpg|a dog|{split}"]


@pytest.mark.parametrize("name", ["c.jsonl", "c.ndjson", "c.json", "c.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_json_lines_by_any_name(reading, name, end):
    lines = (LINES + '{"image": "b.jpg", "caption": 4}\n').replace("\n", end)
    assert reading(lines, name) == [
        "a.jpg|a dog|None",
        "b.jpg|a cat|None",
        f"{name}:3: caption: expected text, got 4",
    ]


def test_a_table_may_contain_text_of_another_format(reading):
    assert reading("image,caption\na.jpg,Dog #1\tof 2\n") == ["a.jpg|Dog #1\tof 2|None"]
    assert reading('image,caption\n{"image": 1},[\n') == ['{"image": 1}|[|None']


EXPECTED = readers.EXPECTED
REFUSED = {
    b"": f"{EXPECTED}, got an empty file",
    b"\xef\xbb\xbf \r\n": f"{EXPECTED}, got an empty file",
    b"\xff\xfe": f"{EXPECTED}, got an empty file",
    b"\xff\xd8\xff\0JFIF": (
        f"{EXPECTED}, got a file that begins with b'\\xff\\xd8\\xff\\x00JFIF' and has a NUL at byte 3"
    ),
    "a,b".encode("utf-16-le"): f"{EXPECTED}, got a file that begins with b'a\\x00,\\x00b\\x00' and has a NUL at byte 1",
    "image,caption\na,b".encode("utf-16")[:-1]: (
        "expected UTF-16 text, by its byte order mark, got truncated data at byte 34; try a fresh copy, or save "
        "it as UTF-8"
    ),
    b"[1, 2]": f"{EXPECTED}, got a JSON list",
    b"[1]\n[2]": f"{EXPECTED}, got JSON lines of type list",
    b"PK\x03\x04\x14\0\x06\0": "expected a text file, got a workbook or an archive; save it as CSV",
    b"\xd0\xcf\x11\xe0\xa1\xb1": "expected a text file, got a workbook or an archive; save it as CSV",
    b'[{"image": "a", "caption": "x"}]\n[{"image": "b", "caption": "x"}]': f"{EXPECTED}, got JSON lines of type list",
    b"{}": f"{EXPECTED}, got a JSON object with no keys",
    b'{"a": 1, "\\ud800": 2}': f"{EXPECTED}, got a JSON object with the keys 'a', '\\ud800'",
    b'{"annotations": []}': f"{EXPECTED}, got a JSON object with the keys 'annotations'",
    b'{"images": {}}': f"{EXPECTED}, got a JSON object with the keys 'images'",
    b'{"images": [}': "invalid JSON: Expecting value: line 1 column 13 (char 12)",
    b'{\n"images": [],\n"images": []}': "invalid JSON: duplicate key 'images'",
    b"[" * 100_000: "invalid JSON: maximum recursion depth exceeded while decoding a JSON array",
    b'{"images": ' + b"9" * 5000 + b"}": "invalid JSON: Exceeds the limit (4300 digits)",
}


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_an_unsupported_format_is_an_error(refusal, content):
    assert refusal(content).startswith(f"c.csv: {REFUSED[content]}")


def test_unreadable_files_are_rejected(tmp_path, monkeypatch):
    def error_message(path):
        with pytest.raises(DataError) as caught:
            list(read_captions(path))
        return str(caught.value)

    assert error_message(tmp_path / "no.csv") == (
        f"{tmp_path}/no.csv: not found; expected a caption file; check the name"
    )
    assert error_message(Path("n" * 300)) == f"{'n' * 300}: cannot be opened: File name too long"
    assert error_message(tmp_path).startswith(f"{tmp_path}: expected a caption file, got a folder; ")
    os.mkfifo(tmp_path / "pipe")
    assert error_message(tmp_path / "pipe") == f"{tmp_path}/pipe: expected a regular file, got a named pipe"
    (tmp_path / "a.csv").write_text("image,caption\n")
    monkeypatch.setattr(readers, "LIMIT", 13)
    assert error_message(tmp_path / "a.csv") == f"{tmp_path}/a.csv: expected a file of at most 13 bytes, got 14"


def test_a_list_of_objects_is_one_caption_each(reading):
    content = [{"image": "a.jpg", "caption": "a dog"}, 3, {"image": "b.jpg", "caption": ["a cat", "b"]}]
    assert reading(json.dumps(content, indent=1), "c.json") == [
        "a.jpg|a dog|None",
        "c.json: [1]: expected an object with image and caption, got 3",
        "b.jpg|a cat|None",
        "b.jpg|b|None",
    ]
