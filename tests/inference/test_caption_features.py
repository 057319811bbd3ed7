"""Captions of a split or a feature file, and data that must match the checkpoint."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from captioning import best_captions

from captioner.errors import CheckpointError, DataError
from captioner.inference.caption import to_record
from captioner.inference.caption_features import caption_features, caption_split
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.inference.restore import Restored


def test_captions_of_a_split_have_names_references_and_truth(varied_model: Restored, val_split) -> None:
    captions = list(caption_split(captioner_of(varied_model), val_split))
    assert [c.image for c in captions] == list(val_split.image_ids)
    assert [c.text for c in captions] == [caption for caption, _ in best_captions(varied_model, val_split.features)]
    for image, caption in enumerate(captions):
        assert len(caption.references) == 5
        assert all(val_split.is_true(image, reference.split()) for reference in caption.references)
        assert caption.true is val_split.is_true(image, caption.text.split())
    assert len(list(caption_split(captioner_of(varied_model), val_split, 3))) == 3


def test_truth_is_none_without_a_truth_function(coco_run: Path) -> None:
    restored = open_run(coco_run)
    captions = list(caption_split(captioner_of(restored), open_corpus(restored).split("val")))
    assert [c.true for c in captions] == [None, None]
    assert captions[0].references == ["a café 猫", "a 猫", "<UNK>"]


def write_features(path: Path, values: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["features"] = values
    return path


def test_features_from_a_file_give_the_same_captions(varied_model: Restored, val_split, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.asarray(val_split.features))
    captions = list(caption_features(captioner_of(varied_model), path))
    assert [c.image for c in captions] == [str(row) for row in range(10)]
    assert [c.text for c in captions] == [caption for caption, _ in best_captions(varied_model, val_split.features)]
    assert {(c.true, *c.references) for c in captions} == {(None,)}
    assert len(list(caption_features(captioner_of(varied_model), path, 2))) == 2


def test_features_of_another_width_are_rejected(varied_model: Restored, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.zeros((2, 8), np.float32))
    with pytest.raises(CheckpointError, match=r"expected \d+ numbers per image, got 8") as caught:
        list(caption_features(captioner_of(varied_model), path))
    assert str(path) in str(caught.value)


def test_non_finite_features_are_rejected(varied_model: Restored, tmp_path: Path) -> None:
    values = np.zeros((2, varied_model.meta.feature_dim), np.float32)
    values[1, 0] = np.nan
    path = write_features(tmp_path / "new.h5", values)
    with pytest.raises(DataError, match=rf"^{path}: features: row 1: a number is not finite"):
        list(caption_features(captioner_of(varied_model), path))


def test_a_data_set_with_another_vocabulary_is_rejected(
    coco_run: Path, write_coco: Callable[..., Path], tmp_path: Path
) -> None:
    words = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "猫")
    other = write_coco(tmp_path / "other", words=words)
    with pytest.raises(CheckpointError, match=r"vocabulary: expected the 7 words .* different from id 5 on"):
        open_corpus(open_run(coco_run, [f"data.root={other}"]))


def test_a_data_set_of_another_encoder_is_rejected(coco_run: Path) -> None:
    with pytest.raises(CheckpointError, match="expected encoder cs231n:vgg16_fc7_pca, got cs231n:vgg16_fc7;"):
        open_corpus(open_run(coco_run, ["data.cs231n.pca=false"]))


def test_a_data_set_of_another_feature_width_is_rejected(
    coco_run: Path, write_coco: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_coco(tmp_path / "other", width=9)
    with pytest.raises(CheckpointError, match=r"features: expected 8 numbers per image, got 9"):
        open_corpus(open_run(coco_run, [f"data.root={other}"]))


def test_captions_have_n_best_candidates(varied_model: Restored, val_split, tmp_path: Path) -> None:
    path = write_features(tmp_path / "new.h5", np.asarray(val_split.features))
    one = captioner_of(varied_model)
    for several in (list(caption_split(one, val_split, 3, 2)), list(caption_features(one, path, 3, 2))):
        for caption in several:
            assert caption.candidates is not None
            assert (caption.text, caption.log_prob) == caption.candidates[0]
            (first, second) = to_record(caption)["candidates"]
            assert (first["caption"], first["log_prob"]) == caption.candidates[0]
            assert (second["caption"], second["log_prob"]) == caption.candidates[1]
    (alone,) = caption_split(captioner_of(varied_model), val_split, 1)
    assert list(to_record(alone)) == ["image", "caption", "log_prob", "references", "true"]
