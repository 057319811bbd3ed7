"""Caption files: format and encoding are detected from the content; problems are reported with line numbers."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captioner.data import readers
from captioner.data.readers import CaptionRecord, Columns, Issue, read_captions, read_list, split_in_name
from captioner.data.readers.records import image_name
from captioner.errors import DataError

KARPATHY = {"images": [{"filename": "a.jpg", "split": "restval", "sentences": [{"tokens": ["a", "dog"]}]}]}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}
LINES = '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": "a cat"}\n'


@pytest.fixture
def reading(tmp_path):
    """The records and issues of a file with some content, as short strings."""

    def read(content, name="c.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        records = list(read_captions(path, **options))
        return [
            f"{one.image}|{one.text}|{one.split}" if isinstance(one, CaptionRecord) else str(one) for one in records
        ]

    return read


@pytest.fixture
def refusal(reading, tmp_path):
    def read(content, name="c.csv", **options):
        with pytest.raises(DataError) as caught:
            reading(content, name, **options)
        message = str(caught.value)
        assert message.isprintable()
        return message.replace(f"{tmp_path}/", "")

    return read


# --- which format


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


# --- which encoding


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["image,caption\r\nä.jpg,Ein Käse 😀 猫\r\n", "ä.jpg#1\tEin Käse 😀 猫\r\n"])
def test_unicode_is_preserved(reading, text, encoding):
    assert reading(text.encode(encoding)) == ["ä.jpg|Ein Käse 😀 猫|None"]
    assert reading(b"\xfe\xff" + text.encode("utf-16-be")) == ["ä.jpg|Ein Käse 😀 猫|None"]


def test_invalid_unicode_is_reported_with_its_line(reading):
    assert reading(b"image,caption,split\na,x,\nb,caf\xe9,\n\xff.jpg,x,\nd,x,\xfc\n,\xfc,\n") == [
        "a|x|None",
        "c.csv:3: caption: expected UTF-8 text, got b'\\xe9'; save the file as UTF-8",
        "c.csv:4: image: expected UTF-8 text, got b'\\xff'; save the file as UTF-8",
        "c.csv:5: split: expected UTF-8 text, got b'\\xfc'; save the file as UTF-8",
        "c.csv:6: image: expected text, got nothing",
    ]
    assert reading("image,caption\na,x\nb,\ud83d!\n".encode("utf-16", "surrogatepass")) == [
        "a|x|None",
        "c.csv:3: caption: expected UTF-8 text, got '\\ud83d'; save the file as UTF-8",
    ]


def test_surrogates_in_json(reading):
    assert reading(
        r'{"image": "a", "caption": "\ud83d\ude00 \ud800"}' + "\n" + r'{"image": "b", "caption": "\ud83d\ude00"}'
    ) == [
        "c.csv:1: caption: expected UTF-8 text, got '\\ud800'; save the file as UTF-8",
        "b|😀|None",
    ]
    coco = {**COCO, "images": [{"id": 1, "file_name": "\udcff.jpg"}]}
    assert reading(json.dumps(coco), "c.json") == [
        "c.json: annotations[0]: image: expected UTF-8 text, got b'\\xff'; save the file as UTF-8"
    ]


# --- names and splits


def test_image_names_are_normalized(reading):
    text = "image,caption\nimages\\a.jpg,x\n./images/a.jpg,y\n././b.jpg,z\n../b.jpg,z\nhttp://h/b.jpg,z\n"
    names = [line.partition("|")[0] for line in reading(text)]
    assert names == ["images/a.jpg", "images/a.jpg", "b.jpg", "../b.jpg", "http://h/b.jpg"]
    assert [image_name(name) for name in (".hidden", ".\\\\a", " a ", "./", "/a")] == [".hidden", "a", "a", "./", "/a"]


def test_an_empty_image_name_is_an_issue(reading):
    lines = [json.dumps({"image": name, "caption": "x"}) for name in ("a\0.jpg", "images/", "./", "..\\")]
    assert reading("\n".join(lines), "c.jsonl") == [
        "c.jsonl:1: image: expected a name, got 'a\\x00.jpg'",
        "c.jsonl:2: image: expected a name, got 'images/'",
        "c.jsonl:3: image: expected a name, got './'",
        "c.jsonl:4: image: expected a name, got '../'",
    ]


def test_split_aliases_and_a_split_for_all_captions(reading):
    named = ["train", "restval", "valid", "validation", "dev", "test", "x", "Training", "VAL", "Testing", "X"]
    text = "image,caption,split\n" + "".join(f"{n},x,{split}\n" for n, split in enumerate(named))
    assert [line.split("|")[2] for line in reading(text)] == [
        *("train", "train", "val", "val", "val", "test", "x", "train", "val", "test", "X")
    ]
    assert {line.split("|")[2] for line in reading(text, split="test")} == {"test"}
    assert reading(json.dumps(KARPATHY), split="val") == ["a.jpg|a dog|val"]
    assert reading(text, columns=Columns("caption", "image", "split"))[0] == "x|0|train"


def test_the_coco_split_is_detected_from_the_file_name(reading):
    assert reading(json.dumps(COCO), "captions_val2014.json") == ["a.jpg|a dog|val"]
    assert reading(json.dumps(COCO), "captions_val2014.json", split="train") == ["a.jpg|a dog|train"]
    assert reading(json.dumps(KARPATHY), "captions_val2014.json") == ["a.jpg|a dog|train"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("captions_train2014.json", "train"),
        ("VAL.json", "val"),
        ("my-test-captions.json", "test"),
        ("coco_restval.json", "train"),
        ("validation.json", "val"),
        ("dev.json", "val"),
        ("train_train2014.json", "train"),
        ("train_and_val.json", None),
        ("trainval.json", None),
        ("latest.json", None),
        ("interval_strain.json", None),
        ("captions.json", None),
    ],
)
def test_the_split_is_detected_from_a_name(name, split):
    assert split_in_name(Path("train/test", name)) == split


def test_image_lists_are_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\n  b\x0bc.jpg \r./d.jpg\nimages\\e.jpg")
    assert read_list(path) == ["a.jpg", "b\x0bc.jpg", "d.jpg", "images/e.jpg"]
    path.write_bytes(b"a\n\xe9.jpg\n")
    with pytest.raises(DataError, match=r"list.txt: expected UTF-8 text, got b'\\xe9' at byte 2$"):
        read_list(path)


# --- anything at all

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
    "images",
    "annotations",
    "id",
    "file_name",
    "image_id",
    "caption",
    "filename",
    "split",
    "sentences",
    "raw",
    "imgid",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
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


@settings(deadline=None, max_examples=250, derandomize=True)
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
    for one in records:
        assert isinstance(one, CaptionRecord | Issue)
        assert one.line.startswith(name)
        if isinstance(one, Issue):
            assert "\n" not in str(one)
        else:
            assert one.image == one.image.strip() != ""
            assert one.text == one.text.strip() != ""
            "".join([one.image, one.text, one.split or "", one.words or ""]).encode()


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.lists(st.sampled_from(['a,"b"', 'a,"b', 'a,b"', "a,b,c", '"a,b', "", 'a,"""b"""', "c"]), max_size=8))
def test_no_line_of_a_table_is_dropped_silently(scratch, lines):
    """Every line that is not blank has a caption or an issue, or is inside a quoted caption that begins above."""
    path = scratch / "t.csv"
    path.write_text("\n".join(["image,caption", *lines]))
    covered = {1}
    for one in read_captions(path):
        first = int(one.line.partition(":")[2])
        assert first not in covered
        covered |= set(range(first, first + (one.text.count("\n") if isinstance(one, CaptionRecord) else 0) + 1))
    assert {number for number, line in enumerate(lines, 2) if line} <= covered
