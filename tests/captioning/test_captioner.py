"""Captions of features: greedy, by beam search and sampled; weights are packed once, and features are checked once."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from captioned_rows import best_captions, candidates, loss

from captioner.captioning import captioner
from captioner.captioning.caption import Candidate
from captioner.captioning.captioner import Captioner, row_batches
from captioner.captioning.load import open_corpus, open_run
from captioner.captioning.saved_model import SavedModel, open_checkpoint
from captioner.data.corpus import Split
from captioner.errors import DataError
from captioner.files import checkpoint
from captioner.model.captioning_rnn import CaptioningRNN

ROWS = np.arange(10)


class RecordingFeatures:
    """Features that record which rows were read."""

    def __init__(self, features: np.ndarray) -> None:
        self._features, self.shape, self.dtype = features, features.shape, features.dtype
        self.read: list[int] = []

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        self.read += np.arange(len(self._features))[rows].tolist()
        return np.asarray(self._features[rows])


def best_texts(restored: SavedModel, split: Split, limit: int | None = None) -> list[str]:
    return [text for text, _ in best_captions(restored, split.features, limit)]


def texts(several: list[list[Candidate]]) -> list[list[str]]:
    return [[text for text, _ in captions] for captions in several]


@pytest.fixture(scope="module")
def restored(tiny_run: Path) -> SavedModel:
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


def test_rows_of_a_split_are_read_only_for_decoding(restored: SavedModel) -> None:
    watched = RecordingFeatures(np.asarray(open_corpus(restored).split("val").features))
    list(Captioner(restored).decode(watched, rows=np.arange(1)))
    assert watched.read == [0]
    list(Captioner(restored).decode(watched))
    assert watched.read == [0, *range(10)]


def test_unchecked_features_are_validated_up_to_the_limit(restored: SavedModel, tmp_path: Path) -> None:
    rows = np.zeros((4, restored.meta.feature_dim), np.float32)
    rows[2] = np.nan
    watched = RecordingFeatures(rows)
    with pytest.raises(DataError, match=r"^caption: features: row 2: a number is not finite"):
        Captioner(restored).caption(features=rows)
    assert len(Captioner(restored).caption(features=rows[:2])) == 2
    assert len(list(best_captions(restored, watched, 2))) == 2
    assert watched.read == [0, 1]
    path, captioner = write_features(tmp_path / "new.h5", rows), Captioner(restored)
    assert len(list(captioner.caption_features(path, 2))) == 2
    with pytest.raises(DataError, match=rf"^{path}: features: row 2: a number is not finite"):
        list(captioner.caption_features(path, 3))


def test_other_decoding_options_share_the_model(
    tiny_run: Path, restored: SavedModel, packed: list[CaptioningRNN]
) -> None:
    options = {"decode.beam_width": 4, "decode.length_penalty": 0.5, "decode.max_length": 6}
    features = np.random.default_rng(0).standard_normal((3, restored.meta.feature_dim)).astype(np.float32)
    first = Captioner(restored)
    before = candidates(first, features)
    other = first.with_options(options)
    expected = Captioner(open_run(tiny_run, options))
    got, count = candidates(other, features, 4), len(packed)
    assert candidates(expected, features, 4) == got != candidates(first, features, 4)
    assert candidates(first, features) == before, "the first is unchanged"
    assert other.loaded.model is first.loaded.model
    assert packed[:count] == [restored.model] * count
    assert count <= restored.config.threads, "its weights are packed once, for each thread"


def test_log_probability_equals_the_teacher_forced_loss(varied_model: SavedModel, val_split) -> None:
    for row, (caption, log_prob) in enumerate(best_captions(varied_model, val_split.features)):
        assert log_prob == pytest.approx(-loss(varied_model, val_split, row, caption), rel=1e-5)


def test_captions_do_not_depend_on_the_batch_size_or_the_limit(
    varied_model: SavedModel, val_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = best_texts(varied_model, val_split)
    monkeypatch.setattr(captioner, "BATCH", 3)
    assert best_texts(varied_model, val_split) == whole
    assert best_texts(varied_model, val_split, 4) == whole[:4]
    assert len(best_texts(varied_model, val_split, 10_000)) == len(whole) == 10


def test_a_caption_may_be_empty_and_there_may_be_fewer_candidates_than_n_best(own_run: Path, val_split) -> None:
    """A model whose most probable word is always <END>, then `a`."""
    path = own_run / "last.h5"
    saved = checkpoint.load(path)
    for array in saved.params.values():
        array[...] = 0
    saved.params["b_vocab"][[saved.meta.words.index(word) for word in ("a", "<END>")]] = 5, 9
    checkpoint.save(path, saved)
    one_word = Captioner(open_checkpoint(path, {"decode.max_length": 1}))
    (captions,) = candidates(one_word, val_split.features, rows=np.arange(1), n_best=100)
    assert [text for text, _ in captions[:2]] == ["", "a"]
    assert len(captions) == len({text for text, _ in captions}) == len(open_checkpoint(path).vocab) - 3
    assert all(math.isfinite(log_prob) for _, log_prob in captions)
    assert -0.1 < captions[0].log_prob < 0


def sampling(varied_model: SavedModel, **options: object) -> SavedModel:
    decode = replace(varied_model.config.decode, method="sampling", max_length=6, **options)
    return replace(varied_model, config=replace(varied_model.config, decode=decode))


def test_samples_do_not_depend_on_batches_threads_or_order(
    varied_model: SavedModel, val_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sampling(varied_model, top_p=0.9)

    def samples(restored: SavedModel, order: np.ndarray = ROWS) -> list[list[str]]:
        several = Captioner(restored).with_options({"caption.n_best": 3})
        batches = row_batches(several.batch_size, val_split.features[order])
        captions = several.captions(batch._replace(noise_keys=order[batch.noise_keys]) for batch in batches)
        return texts([caption.candidates for caption in captions])

    whole = samples(drawn)
    assert len({text for captions in whole for text in captions}) > 15
    for threads, batch in ((1, 256), (3, 5)):
        monkeypatch.setattr(captioner, "BATCH", batch)
        assert samples(replace(drawn, config=replace(drawn.config, threads=threads))) == whole
    order = np.arange(10)[::-1]
    assert samples(drawn, order) == whole[::-1]
    assert samples(sampling(varied_model, top_p=0.9, seed=1)) != whole


def test_captions_of_a_split_have_names_references_and_truth(varied_model: SavedModel, val_split) -> None:
    captions = list(Captioner(varied_model).caption_split(val_split))
    assert [c.image for c in captions] == list(val_split.image_ids)
    assert [c.text for c in captions] == best_texts(varied_model, val_split)
    for image, caption in enumerate(captions):
        assert len(caption.references) == 5
        assert all(val_split.is_correct(image, reference.split()) for reference in caption.references)
        assert caption.correct is val_split.is_correct(image, caption.text.split())
    assert len(list(Captioner(varied_model).caption_split(val_split, 3))) == 3


def write_features(path: Path, values: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["features"] = values
    return path


def test_features_from_a_file_give_the_same_captions(varied_model: SavedModel, val_split, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.asarray(val_split.features))
    captions = list(Captioner(varied_model).caption_features(path))
    assert [c.image for c in captions] == [str(row) for row in range(10)]
    assert [c.text for c in captions] == best_texts(varied_model, val_split)
    assert {(c.correct, *c.references) for c in captions} == {(None,)}
    assert len(list(Captioner(varied_model).caption_features(path, 2))) == 2


def test_arguments_of_a_call_override_the_options_of_the_captioner(tiny_run: Path, val_split: Split) -> None:
    two = Captioner(open_run(tiny_run, {"caption.n_best": 2}))
    assert [len(caption.candidates) for caption in two.caption(features=val_split.features[:2])] == [2, 2]
    assert [len(caption.candidates) for caption in two.caption(features=val_split.features[:2], n_best=1)] == [1, 1]
