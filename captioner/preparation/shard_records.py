"""The photographs of one shard: their numbering, and what a shard stores so that all shards can be merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from captioner.data.corpus import Corpus
from captioner.data.readers import CaptionRecord
from captioner.data.shard import PreparedShard, Shard
from captioner.data.splits import ImageRecord
from captioner.preparation.image_records import SplitRecords, caption_words
from captioner.text.tokenizer import tokenize


class PhotoPart(NamedTuple):
    """The images of a shard in order, the names of all images, and those of the other shards.

    Without a shard, `images` are all images, `names` is None, and there are no others.
    """

    shard: Shard | None
    images: Sequence[ImageRecord]
    names: Sequence[str] | None = None
    others: Sequence[str] = ()

    def record(self, records: SplitRecords, corpus: Corpus) -> PreparedShard | None:
        """Return what the data set `corpus` of this shard stores in addition; None without a shard."""
        if self.shard is None:
            return None
        total = len(self.images) + len(self.others)
        first = self.shard.rows(total).start
        numbers = {one.image: number for number, one in enumerate(self.images, first)}
        captions = {one.image: one.captions for one in self.images}
        positions, words = {}, {}
        for name, split in corpus.splits.items():
            positions[name] = np.array([numbers.pop(image) for image in split.image_ids], np.int32)
            words[name] = [_other_words(caption) for image in split.image_ids for caption in captions[image]]
        return PreparedShard(
            shard=self.shard,
            images=total,
            digest=digest_of_records(records),
            random_splits=bool(records.unsplit),
            left_out=numbers,
            positions=positions,
            words=words if any(map(any, words.values())) else {},
        )


def photo_part(records: SplitRecords, shard: Shard | None) -> PhotoPart:
    """Select the photographs of a shard, or all of them.

    Photographs are numbered in the order of the data set: by split, and by first occurrence in the caption files. If
    the splits are chosen at random, they are numbered by first occurrence alone, since the splits depend on which
    photographs can be read.

    Raises: UsageError if there are more shards than photographs.
    """
    images = numbered_images(records)
    if shard is None:
        return PhotoPart(None, images)
    names = [one.image for one in images]
    rows = shard.rows(len(images))
    return PhotoPart(shard, images[rows], names, [*names[: rows.start], *names[rows.stop :]])


def numbered_images(records: SplitRecords) -> list[ImageRecord]:
    """List all images in the order in which shards number them."""
    return records.unsplit or list(chain(*records.splits.values()))


def digest_of_records(records: SplitRecords) -> str:
    """Compute the SHA-256 of all captions, their words and the splits of their images."""
    digest = hashlib.sha256()
    splits = {one.image: name for name, images in records.splits.items() for one in images}
    for one in numbered_images(records):
        captions = [[caption.text, " ".join(caption_words(caption))] for caption in one.captions]
        digest.update(json.dumps([one.image, splits[one.image], captions]).encode() + b"\n")
    return digest.hexdigest()


def _other_words(caption: CaptionRecord) -> str:
    """Return the words of a caption if they are not those of the tokenizer."""
    return caption.words if caption.words is not None and caption.words.split() != tokenize(caption.text) else ""
