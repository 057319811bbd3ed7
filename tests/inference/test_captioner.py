"""A captioner packs its weights once and validates features once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from captioning import best_captions, candidates

from captioner.errors import ConfigError, DataError
from captioner.inference.caption_features import caption_features, caption_split
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.inference.restore import Restored
from captioner.model.captioning_rnn import CaptioningRNN


class RecordingFeatures:
    """Features that record which rows were read."""

    def __init__(self, features: np.ndarray) -> None:
        self._features, self.shape, self.dtype = features, features.shape, features.dtype
        self.read: list[int] = []

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        self.read += np.arange(len(self._features))[rows].tolist()
        return np.asarray(self._features[rows])


@pytest.fixture(scope="module")
def restored(tiny_run: Path) -> Restored:
    return open_run(tiny_run)


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[CaptioningRNN]:
    """The models whose weights are packed for inference."""
    made: list[CaptioningRNN] = []
    for_inference = CaptioningRNN.for_inference

    def counted(self: CaptioningRNN) -> Any:
        made.append(self)
        return for_inference(self)

    monkeypatch.setattr(CaptioningRNN, "for_inference", counted)
    return made


def test_weights_are_packed_once_per_captioner(restored: Restored, packed: list[CaptioningRNN]) -> None:
    val, captioner = open_corpus(restored).split("val"), captioner_of(restored)
    first = list(captioner.decode(val.features))
    assert list(captioner.decode(val.features)) == first
    list(captioner.decode(val.features, 5))
    list(caption_split(captioner, val))
    assert packed == [restored.model] * restored.config.threads


def test_rows_of_a_split_are_read_only_for_decoding(restored: Restored) -> None:
    val = open_corpus(restored).split("val")
    watched = RecordingFeatures(np.asarray(val.features))
    list(captioner_of(restored).decode(watched, rows=np.arange(1)))
    assert watched.read == [0]
    list(captioner_of(restored).decode(watched))
    assert watched.read == [0, *range(10)]


def test_unchecked_features_are_validated_up_to_the_limit(restored: Restored, tmp_path: Path) -> None:
    rows = np.zeros((4, restored.meta.feature_dim), np.float32)
    rows[2] = np.nan
    watched = RecordingFeatures(rows)
    with pytest.raises(DataError, match=r"^caption: features: row 2: a number is not finite"):
        captioner_of(restored).caption(features=rows)
    assert len(captioner_of(restored).caption(features=rows[:2])) == 2
    assert len(list(best_captions(restored, watched, 2))) == 2
    assert watched.read == [0, 1]
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["features"] = rows
    captioner = captioner_of(restored)
    assert len(list(caption_features(captioner, tmp_path / "new.h5", 2))) == 2
    with pytest.raises(DataError, match=r"new\.h5: features: row 2: a number is not finite"):
        list(caption_features(captioner, tmp_path / "new.h5", 3))


def test_the_kernel_is_inverted_once_for_all_splits(
    tiny_run: Path, cli: Callable[..., Any], inversions: list[int]
) -> None:
    options = ("-o", "decode.beam_width=2", "-o", "decode.consensus=5")
    done = cli("evaluate", tiny_run, "--split", "val", "--split", "test", "--split", "heldout", "--json", *options)
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert inversions == [40]


def test_suppressed_words_must_be_in_the_vocabulary(tiny_run: Path) -> None:
    captioner = captioner_of(open_run(tiny_run, ["decode.suppress_words=unheard"]))
    with pytest.raises(ConfigError, match=r"decode\.suppress_words: expected words of the vocabulary, got unheard"):
        next(captioner.decode(np.zeros((1, captioner.loaded.meta.feature_dim))))


def test_other_decoding_options_share_the_model(
    tiny_run: Path, restored: Restored, packed: list[CaptioningRNN]
) -> None:
    options = {"beam_width": 4, "length_penalty": 0.5, "max_length": 6}
    features = np.random.default_rng(0).standard_normal((3, restored.meta.feature_dim)).astype(np.float32)
    own = captioner_of(restored)
    before = candidates(own, features)
    other = own.with_decoding(replace(restored.config.decode, **options))
    expected = captioner_of(open_run(tiny_run, [f"decode.{name}={value}" for name, value in options.items()]))
    found, count = candidates(other, features, 4), len(packed)
    assert candidates(expected, features, 4) == found != candidates(own, features, 4)
    assert candidates(own, features) == before, "the first is unchanged"
    assert other.loaded.model is own.loaded.model
    assert packed[:count] == [restored.model] * count
    assert count <= restored.config.threads, "its weights are packed once, for each thread"
