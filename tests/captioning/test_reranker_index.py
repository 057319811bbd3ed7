"""The re-ranking index: precision, sampling of large training splits, files that preserve it, and invalid ones."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.captioning import reranker_index
from captioner.captioning.captioner import Captioner
from captioner.captioning.image_batch import row_batches
from captioner.captioning.reranker_index import (
    Index,
    build_index,
    fold,
    index_rows,
    own_index_rows,
    read_index,
    unfold,
    write_index,
)
from captioner.captioning.restore import Restored
from captioner.data.corpus import Corpus
from captioner.data.features import standardization
from captioner.data.vocabulary import join
from captioner.decode import Reranker
from captioner.decode.consensus import choose_kernel, inverse_kernel, unit_features
from captioner.errors import CheckpointError, DataError
from captioner.files.header import RERANKING_INDEX
from captioner.files.saved import write
from captioner.model.image_input import Standardizer


def test_float16_rounding_changes_expected_cider_little(corpus: Corpus, index: Index) -> None:
    train = corpus.split("train")
    images, references = train.reference_ids(corpus.vocab)
    features = train.features[images]
    standardizer = Standardizer(*standardization(features))
    directions = unit_features(features, standardizer)
    kernel = choose_kernel(directions, references)
    exact = Reranker(directions, inverse_kernel(directions, kernel), references, standardizer, kernel)
    for queries in (corpus.split("val").features[:], features):
        candidates = [[several[0] for several in references]] * len(queries)
        both = [
            np.array(reranker.expected_cider(reranker.weights(queries), candidates))
            for reranker in (exact, index.reranker())
        ]
        assert both[0].std() > 0.1
        np.testing.assert_allclose(both[1], both[0], atol=0.01)


def test_a_large_training_split_is_sampled(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker_index, "MAX_IMAGES", 7)
    weights = build_index(corpus).reranker().weights(corpus.split("train").features[:])
    assert weights.shape == (40, 7)
    indexed = np.flatnonzero((weights == 0).any(axis=1)).tolist()
    assert indexed == [0, 6, 13, 19, 26, 32, 39], "those are not regressed on themselves"


def test_an_index_needs_a_training_split(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="split 'train': not found"):
        build_index(dataclasses.replace(corpus, splits={"val": corpus.split("val")}))


def test_a_saved_index_loads_unchanged(index: Index, tmp_path: Path) -> None:
    write_index(tmp_path / "x.h5", index)
    loaded = read_index(tmp_path / "x.h5")
    assert (loaded.train_digest, loaded.encoder) == (index.train_digest, index.encoder)
    assert loaded.arrays.keys() == index.arrays.keys()
    for name, array in index.arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.arrays[name], array)


@pytest.mark.parametrize("n", [1, 2, 7, 128, 129, 400])
def test_fold_and_unfold_are_inverse(n: int) -> None:
    matrix = np.random.default_rng(n).standard_normal((n, n)).astype(np.float16).astype(np.float32)
    matrix = (matrix + matrix.T) / 2
    assert fold(matrix).shape == (n * (n + 1) // 2,)
    np.testing.assert_array_equal(unfold(fold(matrix), n), matrix.astype(np.float16))


# --- behind a valid header


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({name: change(arrays[name])})


def at_first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.concatenate([np.array([value], array.dtype), array[1:]])


def no_images(arrays: dict[str, np.ndarray]) -> None:
    arrays.update({name: arrays[name][:0] for name in ("directions", "inverse", "words", "lengths", "counts")})


HOSTILE: dict[str, Callable[[dict[str, np.ndarray]], object]] = {
    "an array missing": lambda arrays: arrays.pop("counts"),
    "another array": lambda arrays: arrays.update(x=np.zeros(3)),
    "another type": changed("words", lambda words: words.astype(np.int64)),
    "floats for ids": changed("words", lambda words: words.astype(np.float32)),
    "more dimensions": changed("std", lambda std: std[None]),
    "a word more": changed("words", lambda words: np.append(words, words[:1])),
    "a caption less": changed("lengths", lambda lengths: lengths[:-1]),
    "an image without captions": changed("counts", at_first(0)),
    "a negative count": changed("counts", at_first(-5)),
    "an id below -1": changed("words", at_first(-2)),
    "a triangle too short": changed("inverse", lambda inverse: inverse[:-1]),
    "no kernel coefficient": changed("kernel", at_first(0)),
    "another number in the kernel": changed("kernel", lambda kernel: np.append(kernel, 1.0)),
    "another width": changed("mean", lambda mean: mean[:-1]),
    "no deviation": changed("std", at_first(0)),
    "next to no deviation": changed("std", at_first(1e-308)),
    "a mean beyond all features": changed("mean", at_first(-1e300)),
    "no images": no_images,
    "a mean beyond them above": changed("mean", at_first(1e300)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_with_a_valid_header_is_rejected(name: str, index: Index, tmp_path: Path) -> None:
    arrays = dict(index.arrays)
    HOSTILE[name](arrays)
    write(RERANKING_INDEX, tmp_path / "x.h5", arrays, {"train_digest": index.train_digest, "encoder": index.encoder})
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/x.h5: not readable as a re-ranking index: ValueError: "):
        read_index(tmp_path / "x.h5")


@pytest.mark.parametrize("meta", [{}, {"encoder": "a"}, {"train_digest": 1, "encoder": "c"}, {"x": "y"}])
def test_an_index_without_origin_is_rejected(meta: dict[str, Any], index: Index, tmp_path: Path) -> None:
    write(RERANKING_INDEX, tmp_path / "x.h5", index.arrays, meta)
    with pytest.raises(CheckpointError, match="not readable as a re-ranking index"):
        read_index(tmp_path / "x.h5")


def test_index_rows_are_the_places_of_the_images(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker_index, "MAX_IMAGES", 7)
    split = corpus.split("train")
    kept = np.flatnonzero(split.image_idxs != 5)
    train_split = dataclasses.replace(split, captions=split.captions[kept], image_idxs=split.image_idxs[kept])
    rows = index_rows(train_split)
    index = build_index(dataclasses.replace(corpus, splits={"train": train_split}))
    assert rows[5] == -1
    assert sorted(rows[rows >= 0]) == list(range(7))
    weights = index.reranker().weights(np.array(split.features))
    own_weights = [weights[image, row] for image, row in enumerate(rows.tolist()) if row >= 0]
    assert own_weights == [0] * 7, "recognized by their features too"


def test_the_references_of_an_image_never_rank_its_captions(reranked_run: Restored, corpus: Corpus) -> None:
    """Plant a candidate among the references of the image itself, and among those of a copy of it."""
    split, vocab = corpus.split("train"), corpus.vocab
    (batch,) = row_batches(1, split.features, rows=np.array([3]))
    target = Captioner(reranked_run).search(batch)[0][0, -1]
    planted = np.full((len(split.captions), len(target) + 1), vocab.null, np.int32)
    planted[:, :3] = vocab.start, vocab.word_to_idx["a"], vocab.end
    # the weights of the consensus outweigh the log-probabilities
    decode = dataclasses.replace(reranked_run.config.decode, consensus=1000)
    config = dataclasses.replace(reranked_run.config, decode=decode)

    def is_target_best(
        features: np.ndarray, with_target: list[int], is_trained_on: bool, without: np.ndarray | None = None
    ) -> bool:
        captions = planted.copy()
        captions[np.isin(split.image_idxs, with_target), 1:] = target
        train = dataclasses.replace(split, captions=captions, features=features)
        data = dataclasses.replace(corpus, splits={**corpus.splits, "train": train})
        digest = data.train_digest if is_trained_on else "another"
        meta = dataclasses.replace(reranked_run.meta, train_digest=digest)
        loaded = dataclasses.replace(reranked_run, config=config, meta=meta)
        rows = own_index_rows(loaded, data, "train")
        assert (rows is not None) == is_trained_on
        assert own_index_rows(loaded, data, "val") is None
        rows = rows if without is None else without
        captions_of = Captioner(loaded, build_index(data).reranker()).caption_split(train, 4, index_rows=rows)
        return [*captions_of][3].text == join(vocab.decode(target.tolist()))

    unlike = np.array(split.features)
    unlike[np.arange(len(unlike)) != 3] = -unlike[3]  # its only neighbour is itself
    copied = unlike.copy()
    copied[4] = copied[3]
    assert is_target_best(unlike, [3], True, np.full(len(unlike), -1)), "its own captions decide if they take part"
    assert not is_target_best(unlike, [3], True)
    assert not is_target_best(unlike, [3], False), "recognized by its features"
    assert is_target_best(copied, [3, 4], True), "another image takes part, even a copy"
    assert not is_target_best(copied, [3, 4], False)
