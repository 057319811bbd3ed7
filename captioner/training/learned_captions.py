"""The captions that training learns instead of references (data.captions), as a captioner writes them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.options import Config
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import tokenize
from captioner.errors import DataError, quoted
from captioner.files.user_files import enough_memory, read_text

LIMIT = 1 << 30
MAX_WORDS = 1000
"""The longest learned caption: captions are padded to the longest one."""
LINE = "expected an object with image and caption or candidates, as in FILE.jsonl of `captioner sample --write`"


def read_learned_captions(path: Path) -> dict[str, list[str]]:
    """Read the captions of each image, best first, from JSON lines: `caption`, then `candidates`, in file order.

    Raises: DataError for a file that cannot be read, and for anything else.
    """
    captions: dict[str, list[str]] = {}
    with enough_memory(path):
        for number, line in enumerate(read_text(path, "a file of captions", LIMIT).split("\n"), 1):
            if not line.strip():
                continue
            try:
                record: Any = json.loads(line)
            except (ValueError, RecursionError):
                record = line
            texts = _texts(record)
            if not texts:
                raise DataError(f"{path}:{number}: {LINE}, got {quoted(record)}")
            captions.setdefault(record["image"], []).extend(texts)
    return captions


def _texts(record: Any) -> list[str]:
    """Return the captions of a record, or none if it is no record of captions."""
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        return []
    candidates = record.get("candidates", [])
    if not isinstance(candidates, list):
        return []
    texts = [record["caption"]] if "caption" in record else []
    texts += [each.get("caption") if isinstance(each, dict) else None for each in candidates]
    return texts if all(isinstance(text, str) for text in texts) else []


def learned_corpus(config: Config, corpus: Corpus) -> tuple[Corpus, list[str]]:
    """Return a data set whose training split has the captions to be learned, and warnings.

    With `data.captions`, these are the first `data.captions_per_image` captions of each image in the file, then its
    first `data.references` references; otherwise the references, as in `corpus`.

    loss = -1/N Σ_n log P(w_n | image of w_n),   N captions w_n: the first k of each image in the file

    Raises: DataError for a file that cannot be read, or that lacks captions of a training image.
    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2; with the k best captions instead of
    one.
    """
    file = config.data.captions
    if file is None:
        return corpus, []
    train, vocab = corpus.split("train"), corpus.vocab
    images = train.captioned_images.tolist()
    texts, count = read_learned_captions(file), config.data.captions_per_image
    captions = [list(islice(_distinct(texts.get(train.image_ids[image], ()), file), count)) for image in images]
    missing = [image for image, words in zip(images, captions, strict=True) if not words]
    if missing:
        raise DataError(
            f"{file}: expected captions of all {len(images):,} training images, {len(missing):,} missing, such as "
            f"{train.image_ids[missing[0]]!r:.80}; add captions of them, with at least one word"
        )
    parts = [vocab.encode([words for image in captions for words in image])]
    unknown, total = np.count_nonzero(parts[0] == vocab.unk), sum(len(words) for image in captions for words in image)
    image_idxs = np.repeat(train.captioned_images, list(map(len, captions)))
    if rows := [row for image in images for row in train.caption_rows(image)[: config.data.references]]:
        parts.append(train.captions[rows])
        image_idxs = np.concatenate([image_idxs, train.image_idxs[rows]])
    width = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=vocab.null) for part in parts]
    learned = dataclasses.replace(train, captions=np.concatenate(padded), image_idxs=image_idxs, texts=None)
    warnings = [f"{file}: {unknown:,} of {total:,} words are not in the vocabulary, and become <UNK>"]
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": learned}), warnings if unknown else []


def _distinct(texts: Iterable[str], file: Path) -> Iterator[tuple[str, ...]]:
    """Yield the words of different captions that have any. Raises: DataError for a caption that is too long."""
    seen: set[tuple[str, ...]] = {()}
    for text in texts:
        words = tuple(tokenize(text))
        if len(words) > MAX_WORDS:
            raise DataError(f"{file}: expected captions of at most {MAX_WORDS:,} words, got {len(words):,}: {text:.80}")
        if words not in seen:
            seen.add(words)
            yield words
