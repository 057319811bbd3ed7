"""Captions of photographs: order, skipped files, candidates and samples."""

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captioning import best_captions, candidates

from captioner.data.scenes.encoder import ENCODER, encode
from captioner.errors import DataError
from captioner.images.photo import read_photo
from captioner.images.scenes_encoder import ScenesEncoder
from captioner.inference import captioner as captioner_module
from captioner.inference.caption import Caption
from captioner.inference.load import captioner_of
from captioner.inference.restore import Restored
from captioner.model.captioning_rnn import CaptioningRNN

SCENES = ScenesEncoder()


def expected(restored: Restored, paths: list[Path]) -> list[tuple[str, float]]:
    pictures = np.stack([np.asarray(read_photo(path, 64)) for path in paths])
    return list(best_captions(restored, encode(pictures)))


def test_captions_of_photographs_equal_those_of_their_features(photo_model: Restored, new_photos: list[Path]) -> None:
    captions = list(captioner_of(photo_model).caption_photos(new_photos, SCENES))
    assert [caption.image for caption in captions] == [str(path) for path in new_photos]
    predicted = expected(photo_model, new_photos)
    assert [caption.text for caption in captions] == [text for text, _ in predicted]
    assert len({text for text, _ in predicted}) > 2
    for caption, (_, log_prob) in zip(captions, predicted, strict=True):
        assert caption.log_prob == pytest.approx(log_prob, rel=1e-4)
        assert (caption.references, caption.true) == ([], None)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_an_unreadable_photograph_is_skipped(
    at_once: int, photo_model: Restored, new_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioner_module, "PHOTO_BATCH", at_once)
    new_photos[1].write_bytes(b"no photograph")
    new_photos[4].unlink()
    found = list(captioner_of(photo_model).caption_photos(new_photos, SCENES))
    assert [type(one) for one in found] == [Caption, DataError, Caption, Caption, DataError, Caption]
    whole = [path for path in new_photos if path not in (new_photos[1], new_photos[4])]
    texts = [one.text for one in found if isinstance(one, Caption)]
    assert texts == [text for text, _ in expected(photo_model, whole)]
    assert str(found[1]).startswith(f"{new_photos[1]}: expected a photograph")
    assert str(found[4]) == f"{new_photos[4]}: not found; expected a photograph; check the name"


def test_samples_depend_only_on_the_content_of_the_photograph(
    photo_model: Restored, new_photos: list[Path], tmp_path: Path
) -> None:
    decode = dataclasses.replace(photo_model.config.decode, method="sampling", max_length=6)
    sampling_run = dataclasses.replace(photo_model, config=dataclasses.replace(photo_model.config, decode=decode))

    def sampled(photos: list[Path]) -> dict[str, list[str]]:
        found = captioner_of(sampling_run).caption_photos(photos, SCENES, n_best=3)
        return {Path(one.image).name: [text for text, _ in one.candidates or ()] for one in found}  # type: ignore[union-attr]

    whole = sampled(new_photos)
    assert len({tuple(texts) for texts in whole.values()}) > 3
    assert sampled(new_photos[::-1]) == whole
    moved = shutil.copy(new_photos[2], tmp_path / "moved.png")
    assert sampled([Path(moved)]) == {"moved.png": whole[new_photos[2].name]}


def test_weights_are_packed_once_for_all_batches(
    photo_model: Restored, new_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, for_inference = [], CaptioningRNN.for_inference

    def counted(self: CaptioningRNN) -> Any:
        made.append(self)
        return for_inference(self)

    monkeypatch.setattr(CaptioningRNN, "for_inference", counted)
    monkeypatch.setattr(captioner_module, "PHOTO_BATCH", 1)
    two = dataclasses.replace(photo_model, config=dataclasses.replace(photo_model.config, threads=2))
    assert len(list(captioner_of(two).caption_photos(new_photos, SCENES))) == 6
    assert made == [two.model] * 2, "one for each thread"


def test_the_reranker_is_built_once_for_all_batches(
    photo_model: Restored, new_photos: list[Path], monkeypatch: pytest.MonkeyPatch, inversions: list[int]
) -> None:
    decode = dataclasses.replace(photo_model.config.decode, beam_width=5, consensus=300.0)
    reranked_run = dataclasses.replace(photo_model, config=dataclasses.replace(photo_model.config, decode=decode))
    monkeypatch.setattr(captioner_module, "PHOTO_BATCH", 1)

    def texts(several: Iterable[Any]) -> list[list[str]]:
        return [[text for text, _ in one] for one in several]

    captioner = captioner_of(reranked_run)
    found = texts(one.candidates for one in captioner.caption_photos(new_photos, SCENES, n_best=5))  # type: ignore[union-attr]
    assert len(inversions) == 1
    pictures = np.stack([read_photo(photo, 64) for photo in new_photos])
    assert found == texts(candidates(captioner, encode(pictures), 5))
    assert found != texts(candidates(captioner_of(photo_model), encode(pictures), 5))


def test_non_finite_features_are_rejected(photo_model: Restored, new_photos: list[Path]) -> None:
    class Broken(ScenesEncoder):
        def encode(self, batch: np.ndarray) -> np.ndarray:
            return super().encode(batch) * np.float32(np.nan)

    with pytest.raises(DataError, match=rf"^{ENCODER}: features: row 0: a number is not finite"):
        list(captioner_of(photo_model).caption_photos(new_photos, Broken()))


def test_the_limit_counts_photographs(photo_model: Restored, new_photos: list[Path]) -> None:
    whole = list(captioner_of(photo_model).caption_photos(new_photos, SCENES))
    for most in (1, 4, 100):
        found = [
            one
            for one in captioner_of(photo_model).caption_photos(new_photos, SCENES, limit=most)
            if isinstance(one, Caption)
        ]
        assert [(one.image, one.text) for one in found] == [(one.image, one.text) for one in whole[:most]]
    assert list(captioner_of(photo_model).caption_photos([], SCENES)) == []


@pytest.mark.parametrize("best", [2, 5, 100])
def test_candidates_are_sorted_and_the_first_is_the_caption(
    best: int, photo_model: Restored, new_photos: list[Path]
) -> None:
    for one in captioner_of(photo_model).caption_photos(new_photos, SCENES, best):
        assert isinstance(one, Caption)
        assert one.candidates is not None
        assert one.candidates[0] == (one.text, one.log_prob)
        log_probs = [log_prob for _, log_prob in one.candidates]
        assert log_probs == sorted(log_probs, reverse=True)
        assert np.isfinite(log_probs).all()
        assert len(set(one.candidates)) == len(one.candidates) == best
    (again, *_) = candidates(captioner_of(photo_model), encode(np.asarray(read_photo(new_photos[0], 64))[None]), best)
    (first, *_) = captioner_of(photo_model).caption_photos(new_photos, SCENES, best)
    assert [text for text, _ in again] == [text for text, _ in first.candidates or ()]


def test_a_damaged_photograph_is_one_error_line(new_photos: list[Path]) -> None:
    content = new_photos[0].read_bytes()
    new_photos[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        read_photo(new_photos[0], 64)
    assert str(caught.value).isprintable()
