"""Caption files in any Unicode encoding are read, and invalid text is reported."""

import json

import pytest
from caption_documents import COCO


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
