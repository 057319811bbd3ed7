"""Shards: numbered parts of a sequence of photographs, for jobs that share the work on a large collection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError, UsageError

MOST = 1 << 31
"""Positions of photographs are below this number: they are stored as int32."""


class Shard(NamedTuple):
    """Part `number` of `parts` consecutive parts of a sequence, numbered from 1.

    >>> [Shard(number, 3).rows(8) for number in (1, 2, 3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """

    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse I/N. Raises: UsageError unless 1 <= I <= N."""
        match = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"--shard {text}: expected I/N with I from 1 to N, such as 2/4 for the second of four parts"
            )
        return cls(int(match[1]), int(match[2]))

    def rows(self, total: int) -> slice:
        """Return the rows of this part: from `(I-1) total // N` up to, but not including, `I total // N`.

        The sizes of parts differ by at most one, and the parts in order are the whole sequence.

        Raises: UsageError if there are more parts than rows.
        """
        if self.parts > total:
            raise UsageError(
                f"--shard {self}: expected at most one shard per image, got {total:,} images; use fewer shards"
            )
        return slice((self.number - 1) * total // self.parts, self.number * total // self.parts)


class PreparedShard(NamedTuple):
    """What a prepared shard stores in addition to its data set: all that merging needs.

    `images` is the number of photographs of all shards, `digest` that of all captions and splits; `random_splits` is
    whether the splits were chosen at random, and `left_out` the positions of the photographs without features.
    `positions` has the position of each image among the photographs of all shards, by split. `words` has, by split, the
    words of each caption if the caption file has them and the tokenizer would not return them, else "".

    Shapes: positions (M,) int32 and K words for each split.
    """

    shard: Shard
    images: int
    digest: str
    random_splits: bool
    left_out: Mapping[str, int]
    positions: Mapping[str, Array]
    words: Mapping[str, Sequence[str]]

    def meta(self) -> dict[str, Any]:
        """Return what is stored in the metadata."""
        return {
            "number": self.shard.number,
            "count": self.shard.parts,
            "images": self.images,
            "digest": self.digest,
            "random_splits": self.random_splits,
            "left_out": dict(self.left_out),
            "words": bool(self.words),
        }

    def check(self, where: str) -> None:
        """Check the positions. Raises: DataError unless each photograph of the shard occurs once."""
        rows = self.shard.rows(self.images)
        found = np.concatenate([*self.positions.values(), np.array([*self.left_out.values()], np.int64)])
        if len(found) != rows.stop - rows.start or (np.sort(found) != np.arange(rows.start, rows.stop)).any():
            raise DataError(f"{where}: positions: expected {rows.start} to {rows.stop - 1}, each once, got others")
        if any((np.diff(one) < 0).any() for one in self.positions.values()):
            raise DataError(f"{where}: positions: expected ascending positions in each split, got others")


def shard_of_meta(
    meta: Mapping[str, Any], positions: Mapping[str, Array], words: Mapping[str, Sequence[str]], where: str
) -> PreparedShard:
    """Build what a prepared shard stores from its metadata and arrays. Raises: DataError for invalid ones."""
    match meta:
        case {
            "number": int(number),
            "count": int(count),
            "images": int(images),
            "digest": str(digest),
            "random_splits": bool(random_splits),
            "left_out": dict(left_out),
        } if 1 <= number <= count <= images < MOST and all(
            type(one) is int and 0 <= one < MOST for one in left_out.values()
        ):
            found = PreparedShard(Shard(number, count), images, digest, random_splits, left_out, positions, words)
        case _:
            raise DataError(f"{where}: meta: shard: expected number, count, images, digest, ..., got {meta!r:.80}")
    found.check(where)
    return found
