"""Karpathy's dataset.json and COCO's captions_*.json, whole and with every issue."""

import pytest

from captioner.data.readers.annotations import coco, karpathy
from captioner.data.readers.records import CaptionRecord

DEEP = 1 << 70


def shown(captions):
    return [
        f"{one.line} {one.image}|{one.text}|{one.split}|{one.words}|{one.row}"
        if isinstance(one, CaptionRecord)
        else str(one)
        for one in captions
    ]


# --- Karpathy


def image(**more):
    return {"filename": "a.jpg", "split": "train", "sentences": [{"tokens": ["a", "dog"], "raw": "A dog."}], **more}


def read_karpathy(*images):
    return shown(karpathy("d.json", {"images": list(images), "dataset": "flickr8k"}))


def test_karpathy_images_are_read():
    two = [{"raw": " A cat! ", "sentid": 3}, {"tokens": ["two", "Cats"]}, {"tokens": [], "raw": "Cats"}]
    got = read_karpathy(
        image(sentids=[0], imgid=7),
        image(filename=" b.jpg ", filepath="val2014/", split=" restval ", sentences=two),
        image(filename="c.jpg", split=None),
    )
    assert got == [
        "d.json: images[0].sentences[0] a.jpg|A dog.|train|a dog|7",
        "d.json: images[1].sentences[0] val2014/b.jpg|A cat!|restval|None|1",
        "d.json: images[1].sentences[1] val2014/b.jpg|two Cats|restval|two Cats|1",
        "d.json: images[1].sentences[2] val2014/b.jpg|Cats|restval|None|1",
        "d.json: images[2].sentences[0] c.jpg|A dog.|None|a dog|2",
    ]


KARPATHY_ISSUES = [
    (None, "", "expected an object with a filename, got None"),
    ({"split": "train"}, "", "expected an object with a filename, got {'split': 'train'}"),
    (image(filename=3)["filename"], "", "expected an object with a filename, got 3"),
    (image(split=5), "", "expected a split and an imgid >= 0, got 5 and 1"),
    (image(split=" "), "", "expected a split and an imgid >= 0, got ' ' and 1"),
    (image(imgid=-1), "", "expected a split and an imgid >= 0, got 'train' and -1"),
    (image(imgid=True), "", "expected a split and an imgid >= 0, got 'train' and True"),
    (image(imgid="4"), "", "expected a split and an imgid >= 0, got 'train' and '4'"),
    (image(sentences=None), "", "expected a list of sentences, got None"),
    (image(sentences=[]), "", "expected a list of sentences, got []"),
    (image(sentences={"raw": "x"}), "", "expected a list of sentences, got {'raw': 'x'}"),
    (image(sentences=["A dog"]), ".sentences[0]", "expected raw text or tokens, got 'A dog'"),
    (image(sentences=[{"raw": " "}]), ".sentences[0]", "expected raw text or tokens, got {'raw': ' '}"),
    (image(sentences=[{"raw": 4}]), ".sentences[0]", "expected raw text or tokens, got {'raw': 4}"),
    *(
        (
            image(sentences=[{"raw": "x", "tokens": tokens}]),
            ".sentences[0]",
            f"tokens: expected a list of words, got {tokens!r}",
        )
        for tokens in ("a dog", ["a dog"], ["a", ""], ["a", 1], ["\x07"], ["\ud800"], {"a": 1}, [["a"]])
    ),
]


@pytest.mark.parametrize(("bad", "where", "problem"), KARPATHY_ISSUES, ids=range(len(KARPATHY_ISSUES)))
def test_an_invalid_image_is_an_issue(bad, where, problem):
    first, issue, last = read_karpathy(image(), bad, image(filename="z.jpg"))
    assert first.startswith("d.json: images[0].sentences[0] a.jpg|")
    assert issue == f"d.json: images[1]{where}: {problem}"
    assert last == "d.json: images[2].sentences[0] z.jpg|A dog.|train|a dog|2"


# --- COCO


def read_coco(images, annotations, split="val"):
    return shown(coco("c.json", {"images": images, "annotations": annotations}, split))


A, B = {"id": 9, "file_name": "a.jpg"}, {"id": 4, "file_name": " b.jpg "}


def annotated(number, text="A dog"):
    return {"image_id": number, "caption": text, "id": 1}


def test_coco_annotations_are_read():
    assert read_coco([A, B], [annotated(4), annotated(9, "\nA cat. "), annotated(4, "Two")]) == [
        "c.json: annotations[0] b.jpg|A dog|val|None|1",
        "c.json: annotations[1] a.jpg|A cat.|val|None|0",
        "c.json: annotations[2] b.jpg|Two|val|None|1",
    ]
    assert read_coco([A], [annotated(9)], None) == ["c.json: annotations[0] a.jpg|A dog|None|None|0"]


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (annotated(9, ""), "expected an object with a caption, got {'image_id': 9, 'caption': '', 'id': 1}"),
        (annotated(9, None), "expected an object with a caption, got {'image_id': 9, 'caption': None, 'id': 1}"),
        (annotated(9, 3), "expected an object with a caption, got {'image_id': 9, 'caption': 3, 'id': 1}"),
        ("x", "expected an object with a caption, got 'x'"),
        (annotated(5), "image_id: expected the id of an image, got 5"),
        (annotated(9.0), "image_id: expected the id of an image, got 9.0"),
        (annotated(True), "image_id: expected the id of an image, got True"),
        (annotated([9]), "image_id: expected the id of an image, got [9]"),
        (annotated(DEEP), f"image_id: expected the id of an image, got {DEEP}"),
        ({"caption": "x"}, "image_id: expected the id of an image, got None"),
    ],
)
def test_an_invalid_annotation_is_an_issue(annotation, problem):
    first, issue, last = read_coco([A, {"id": 1, "file_name": "one"}], [annotated(9), annotation, annotated(1)])
    assert first == "c.json: annotations[0] a.jpg|A dog|val|None|0"
    assert issue == f"c.json: annotations[1]: {problem}"
    assert last == "c.json: annotations[2] one|A dog|val|None|1"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (
            {"id": True, "file_name": "t"},
            "expected an object with an id and a file_name, got {'id': True, 'file_name': 't'}",
        ),
        (
            {"id": "7", "file_name": "t"},
            "expected an object with an id and a file_name, got {'id': '7', 'file_name': 't'}",
        ),
        ({"id": 7}, "expected an object with an id and a file_name, got {'id': 7}"),
        ([7], "expected an object with an id and a file_name, got [7]"),
        ({"id": 9, "file_name": "other"}, "duplicate id 9"),
        ({"id": 7, "file_name": "mute.jpg"}, "mute.jpg: has no caption"),
    ],
)
def test_an_invalid_coco_image_is_an_issue(bad, problem):
    got = read_coco([A, bad], [annotated(9)])
    assert f"c.json: images[1]: {problem}" in got
    assert [line for line in got if "|" in line] == ["c.json: annotations[0] a.jpg|A dog|val|None|0"]
    assert len(got) == 2
