"""Caption files: their format, encoding, image names and splits; lists of images; caption files in a folder."""

import json
from pathlib import Path

import pytest

from captioner.data import caption_readers
from captioner.data.caption_readers import (
    CaptionRecord,
    Columns,
    image_name,
    read_captions,
    read_list,
    split_in_name,
)
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
        return [
            f"{item.image}|{item.text}|{item.split}" if isinstance(item, CaptionRecord) else str(item)
            for item in read_captions(path, **options)
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


@pytest.mark.parametrize(("name", "space"), [("captions.txt", ""), ("captions", "\n \n"), ("captions.json", "\n")])
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
    assert reading(lines, name) == ["a.jpg|a dog|None", "b.jpg|a cat|None", f"{name}:3: caption: expected text, got 4"]


def test_a_table_may_contain_text_of_another_format(reading):
    assert reading("image,caption\na.jpg,Dog #1\tof 2\n") == ["a.jpg|Dog #1\tof 2|None"]
    assert reading('image,caption\n{"image": 1},[\n') == ['{"image": 1}|[|None']


EXPECTED = caption_readers.EXPECTED
REFUSED = {
    b"\xef\xbb\xbf \r\n": f"{EXPECTED}, got an empty file",
    b"%PDF-1.4\n1 \0 obj": f"{EXPECTED}, got a PDF document",
    "a,b".encode("utf-16-le"): f"{EXPECTED}, got a file of an unknown format",
    "image,caption\na,b".encode("utf-16"): f"{EXPECTED}, got UTF-16 text; save it as UTF-8",
    b"[1]\n[2]": f"{EXPECTED}, got JSON lines of type list",
    b"PK\x03\x04\x14\0\x06\0": f"{EXPECTED}, got a ZIP archive or an Office document",
    b"[1, 2]": f"{EXPECTED}, got a JSON list",
    b"{}": f"{EXPECTED}, got a JSON object with no keys",
    b'{"a": 1, "\\ud800": 2}': f"{EXPECTED}, got a JSON object with the keys 'a', '\\ud800'",
    b'{"images": {}}': f"{EXPECTED}, got a JSON object with the keys 'images'",
    b'{"images": [}': "invalid JSON: Expecting value: line 1 column 13 (char 12)",
    b'{\n"images": [],\n"images": []}': "invalid JSON: duplicate key 'images'",
    b"[" * 100_000: "invalid JSON: maximum recursion depth exceeded while decoding a JSON array",
}


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_an_unsupported_format_is_an_error(refusal, content):
    assert refusal(content).startswith(f"c.csv: {REFUSED[content]}")


def test_a_folder_and_a_large_file_are_rejected(refusal, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r": expected a caption file, got a folder; give a file in it"):
        list(read_captions(tmp_path))
    monkeypatch.setattr(caption_readers, "LIMIT", 13)
    assert refusal("image,caption\n") == "c.csv: expected a file of at most 13 bytes, got 14"


def test_a_list_of_objects_is_one_caption_each(reading):
    content = [{"image": "a.jpg", "caption": "a dog"}, 3, {"image": "b.jpg", "caption": ["a cat", "b"]}]
    assert reading(json.dumps(content, indent=1), "c.json") == [
        "a.jpg|a dog|None",
        "c.json: [1]: expected an object with image and caption, got 3",
        "b.jpg|a cat|None",
        "b.jpg|b|None",
    ]


# --- encodings


def test_invalid_unicode_is_reported_with_its_line(reading):
    assert reading(b"image,caption,split\na,x,\nb,caf\xe9,\n\xff.jpg,x,\nd,x,\xfc\n,\xfc,\n") == [
        "a|x|None",
        "c.csv:3: caption: expected UTF-8 text, got b'\\xe9'; save the file as UTF-8",
        "c.csv:4: image: expected UTF-8 text, got b'\\xff'; save the file as UTF-8",
        "c.csv:5: split: expected UTF-8 text, got b'\\xfc'; save the file as UTF-8",
        "c.csv:6: image: expected text, got nothing",
    ]


def test_surrogates_in_json(reading):
    assert reading(
        r'{"image": "a", "caption": "\ud83d\ude00 \ud800"}' + "\n" + r'{"image": "b", "caption": "\ud83d\ude00"}'
    ) == ["c.csv:1: caption: expected UTF-8 text, got '\\ud800'; save the file as UTF-8", "b|😀|None"]


# --- names


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
    with pytest.raises(DataError, match=r"list.txt: expected UTF-8 text, got b'\\xe9' at byte 2 of a file"):
        read_list(path)
