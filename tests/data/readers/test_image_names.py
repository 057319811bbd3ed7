"""Image names and splits in caption files, and lists of images, are normalized."""

import json
from pathlib import Path

import pytest
from caption_documents import COCO, KARPATHY

from captioner.data.readers import Columns, read_list, split_in_name
from captioner.data.readers.records import image_name
from captioner.errors import DataError


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
