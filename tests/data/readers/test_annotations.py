"""Karpathy's dataset.json and COCO's captions_*.json, whole and with every issue."""

import pytest

from captioner.data.readers.formats import coco, karpathy
from captioner.data.readers.records import CaptionRecord

DEEP = 1 << 70


def shown(captions):
    return [
        f"{item.line} {item.image}|{item.text}|{item.split}|{item.words}|{item.row}"
        if isinstance(item, CaptionRecord)
        else str(item)
        for item in captions
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


NOT_IMAGES = [None, {"split": "train"}, 3]
NOT_NUMBERED = [{"split": 5}, {"split": " "}, {"imgid": -1}, {"imgid": True}, {"imgid": "4"}]
NOT_SENTENCES = [None, [], {"raw": "x"}]
NOT_TEXTS = ["A dog", {"raw": " "}, {"raw": 4}]
NOT_TOKENS = ["a dog", ["a dog"], ["a", ""], ["a", 1], ["\x07"], ["\ud800"], {"a": 1}, [["a"]]]
KARPATHY_ISSUES = [
    *((bad, f": expected an object with a filename, got {bad}") for bad in NOT_IMAGES),
    *(
        (
            image(**bad),
            f": expected a split and an imgid >= 0, got {bad.get('split', 'train')!r} and {bad.get('imgid', 1)!r}",
        )
        for bad in NOT_NUMBERED
    ),
    *((image(sentences=bad), f": expected a list of sentences, got {bad}") for bad in NOT_SENTENCES),
    *((image(sentences=[bad]), f".sentences[0]: expected raw text or tokens, got {bad!r}") for bad in NOT_TEXTS),
    *(
        (
            image(sentences=[{"raw": "x", "tokens": tokens}]),
            f".sentences[0]: tokens: expected a list of words, got {tokens!r}",
        )
        for tokens in NOT_TOKENS
    ),
]


@pytest.mark.parametrize(("bad", "problem"), KARPATHY_ISSUES, ids=range(len(KARPATHY_ISSUES)))
def test_an_invalid_image_is_an_issue(bad, problem):
    first, issue, last = read_karpathy(image(), bad, image(filename="z.jpg"))
    assert first.startswith("d.json: images[0].sentences[0] a.jpg|")
    assert issue == f"d.json: images[1]{problem}"
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
        *(
            (bad, f"expected an object with a caption, got {bad!r}")
            for bad in (annotated(9, ""), annotated(9, None), annotated(9, 3), "x")
        ),
        *(
            (annotated(number), f"image_id: expected the id of an image, got {number!r}")
            for number in (5, 9.0, True, [9], DEEP, None)
        ),
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
        *(
            (bad, f"expected an object with an id and a file_name, got {bad}")
            for bad in ({"id": True, "file_name": "t"}, {"id": "7", "file_name": "t"}, {"id": 7}, [7])
        ),
        ({"id": 9, "file_name": "other"}, "duplicate id 9"),
        ({"id": 7, "file_name": "mute.jpg"}, "mute.jpg: has no caption"),
    ],
)
def test_an_invalid_coco_image_is_an_issue(bad, problem):
    got = read_coco([A, bad], [annotated(9)])
    assert f"c.json: images[1]: {problem}" in got
    assert [line for line in got if "|" in line] == ["c.json: annotations[0] a.jpg|A dog|val|None|0"]
    assert len(got) == 2
