"""Read Karpathy's dataset.json and COCO's captions_*.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captioner.data.readers.records import CaptionRecord, Issue
from captioner.errors import quoted


def karpathy(name: str, content: dict[str, Any]) -> Iterator[CaptionRecord | Issue]:
    """Read Karpathy's format: `{"images": [{"filename", "split", "imgid", "sentences": [{"tokens", "raw"}]}]}`."""
    for number, image in enumerate(content["images"]):
        where = f"{name}: images[{number}]"
        if not isinstance(image, dict) or not _is_text(image.get("filename")):
            yield Issue(where, f"expected an object with a filename, got {quoted(image)}")
            continue
        split, row, sentences = image.get("split"), image.get("imgid", number), image.get("sentences")
        folder = f"{image['filepath'].strip().rstrip('/')}/" if _is_text(image.get("filepath")) else ""
        if not (split is None or _is_text(split)) or type(row) is not int or row < 0:
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
                yield CaptionRecord(folder + image["filename"].strip(), text, split and split.strip(), line, words, row)


def coco(name: str, content: dict[str, Any], split: str | None) -> Iterator[CaptionRecord | Issue]:
    """Read COCO's format: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`."""
    names: dict[Any, tuple[str, int]] = {}
    for number, image in enumerate(content["images"]):
        where = f"{name}: images[{number}]"
        if not isinstance(image, dict) or type(image.get("id")) is not int or not _is_text(image.get("file_name")):
            yield Issue(where, f"expected an object with an id and a file_name, got {quoted(image)}")
        elif image["id"] in names:
            yield Issue(where, f"duplicate id {image['id']}")
        else:
            names[image["id"]] = image["file_name"].strip(), number
    captioned: set[str] = set()
    for number, annotation in enumerate(content["annotations"]):
        line = f"{name}: annotations[{number}]"
        if not isinstance(annotation, dict) or not _is_text(annotation.get("caption")):
            yield Issue(line, f"expected an object with a caption, got {quoted(annotation)}")
        elif type(annotation.get("image_id")) is not int or annotation["image_id"] not in names:
            yield Issue(line, f"image_id: expected the id of an image, got {quoted(annotation.get('image_id'))}")
        else:
            image, row = names[annotation["image_id"]]
            captioned.add(image)
            yield CaptionRecord(image, annotation["caption"].strip(), split, line, row=row)
    for image, number in names.values():
        if image not in captioned:
            yield Issue(f"{name}: images[{number}]", f"{image}: has no caption")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value] and value.isprintable()
