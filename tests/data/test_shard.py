"""Shards of a sequence: their rows, their notation, and what a prepared shard stores."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.shard import MOST, PreparedShard, Shard, shard_of_meta
from captioner.errors import DataError, UsageError


@given(st.data())
def test_the_shards_in_order_are_the_whole(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 1000))
    parts = data.draw(st.integers(1, total))
    rows = [list(range(total))[Shard(number, parts).rows(total)] for number in range(1, parts + 1)]
    assert list(chain(*rows)) == list(range(total))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert min(map(len, rows)) > 0


def test_notation() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    assert str(Shard.parse("02/4")) == "2/4"


@pytest.mark.parametrize(
    "text", ["", "x", "2", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "1.5/4", " 1/4", "1/4\n", "1/1e9", "٢/٤"]
)
def test_invalid_notation(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--shard .*: expected I/N with I from 1 to N, such as 2/4 for the second"
    ) as caught:
        Shard.parse(text)
    assert str(caught.value).isprintable()


def test_more_shards_than_images() -> None:
    with pytest.raises(UsageError, match=r"--shard 1/9: expected at most one shard per image, got 8 images; use fewer"):
        Shard(1, 9).rows(8)


META = PreparedShard(Shard(2, 3), 8, "ab", True, {"b.jpg": 3}, {}, {}).meta()
POSITIONS = {"train": np.array([2], np.int32), "val": np.array([4], np.int32)}


def test_what_is_stored_is_read() -> None:
    found = shard_of_meta(META, POSITIONS, {}, "a.h5")
    assert (found.shard, found.images, found.digest, found.random_splits) == (Shard(2, 3), 8, "ab", True)
    assert found.left_out == {"b.jpg": 3}
    assert found.positions is POSITIONS


INVALID = {
    "no number": {"number": None},
    "text for a number": {"number": "2"},
    "number 0": {"number": 0},
    "number above the count": {"number": 4},
    "more shards than images": {"count": 9},
    "more images than int32": {"images": MOST},
    "far more images": {"images": 10**30, "count": 1, "number": 1},
    "no digest": {"digest": 3},
    "no list of images left out": {"left_out": ["b.jpg"]},
    "a position that is text": {"left_out": {"b.jpg": "3"}},
    "a position beyond int64": {"left_out": {"b.jpg": 10**30}},
    "a negative position": {"left_out": {"b.jpg": -3}},
    "an image twice": {"left_out": {"b.jpg": 2}},
    "an image of another shard": {"left_out": {"b.jpg": 5}},
    "an image that is missing": {"left_out": {}},
    "another shard": {"number": 1},
    "all images": {"number": 1, "count": 1},
}


@pytest.mark.parametrize("change", INVALID.values(), ids=INVALID)
def test_invalid_contents_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"^a\.h5: (meta: shard: expected number|positions: expected \d)") as caught:
        shard_of_meta({**META, **change}, POSITIONS, {}, "a.h5")
    assert str(caught.value).isprintable()


def test_positions_ascend() -> None:
    descending = {"train": np.array([4, 2], np.int32)}
    with pytest.raises(DataError, match="expected ascending positions in each split"):
        shard_of_meta(META, descending, {}, "a.h5")
