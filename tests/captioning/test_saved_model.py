"""Saved models: the parts of a checkpoint or package must match each other and the data set, and be finite."""

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.arrays import Array, Params
from captioner.captioning.load import check_corpus
from captioner.captioning.saved_model import SavedModel, open_checkpoint
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError
from captioner.files import checkpoint
from captioner.files.checkpoint import Checkpoint
from captioner.optim import EMA
from captioner.preparation.load_corpus import build_corpus
from captioner.training.train import train


def test_everything_saved_is_restored(tiny_run: Path) -> None:
    saved, restored = checkpoint.load(tiny_run / "last.h5"), open_checkpoint(tiny_run / "last.h5")
    assert restored.path == tiny_run / "last.h5"
    assert restored.config == parse((tiny_run / "config.yaml").read_text(), "")
    assert restored.vocab.words == tuple(saved.meta.words)
    assert restored.meta == saved.meta
    for name, array in saved.params.items():
        np.testing.assert_array_equal(restored.model.params[name], array)
    assert restored.saved.slots.keys() == {"m", "v"}


def test_without_training_only_the_moving_average_is_read_of_the_slots(tiny_run: Path, tmp_path: Path) -> None:
    assert open_checkpoint(tiny_run / "last.h5", for_training=False).saved.slots == {}
    saved = checkpoint.load(tiny_run / "last.h5")
    average = {name: w + 1 for name, w in saved.params.items()}
    with_average = dataclasses.replace(saved, slots={**saved.slots, EMA: average})
    checkpoint.save(tmp_path / "last.h5", with_average)
    restored = open_checkpoint(tmp_path / "last.h5", for_training=False)
    assert restored.saved.slots.keys() == {EMA}
    np.testing.assert_array_equal(restored.model.params["Wh"], average["Wh"])


def with_meta(**fields: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda saved: dataclasses.replace(saved, meta=dataclasses.replace(saved.meta, **fields))


def with_params(change: Callable[[Params], object]) -> Callable[[Checkpoint], Checkpoint]:
    def changed(saved: Checkpoint) -> Checkpoint:
        params = dict(saved.params)
        change(params)
        return dataclasses.replace(saved, params=params)

    return changed


INCONSISTENT: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "missing": (with_params(lambda p: p.pop("Wh")), r"array params/Wh: expected float32 \(16, 64\), got nothing"),
    "unknown": (with_params(lambda p: p.update(W_more=p["Wh"])),
                "array params/W_more: unknown; expected W_embed, W_proj, b_proj, Wx, Wh, b, W_vocab, b_vocab"),
    "shape": (with_params(lambda p: p.update(Wh=p["Wh"].T)),
              r"array params/Wh: expected float32 \(16, 64\), got float32 \(64, 16\)"),
    "slot": (lambda saved: dataclasses.replace(saved, slots={**saved.slots, "m": {"b": saved.params["b"]}}),
             r"array slots/m/W_embed: expected float32 \(\d+, 16\), got nothing"),
    "standardizer": (lambda saved: dataclasses.replace(saved, standardizer={"mean": np.zeros(saved.meta.feature_dim)}),
                     r"array standardizer/std: expected float64 \(\d+,\), got nothing"),
    "width": (with_meta(feature_dim=3), r"array params/W_proj: expected float32 \(3, 16\), got float32 \(\d+, 16\)"),
    "word_twice": (lambda saved: with_meta(words=[*saved.meta.words[:-1], "a"])(saved),
                   "meta: vocabulary: duplicate word 'a'"),
    "config": (with_meta(config={"seed": "no", "modle": 3}), "meta: seed: expected .*; modle: unknown"),
}  # fmt: skip


@pytest.mark.parametrize("name", INCONSISTENT)
def test_inconsistent_parts_are_reported(name: str, own_run: Path) -> None:
    change, message = INCONSISTENT[name]
    path = own_run / "last.h5"
    checkpoint.save(path, change(checkpoint.load(path)))
    with pytest.raises(CheckpointError, match=rf"^{path}: {message}") as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()


def at_first(value: float) -> Callable[[Array], Array]:
    return lambda array: np.concatenate([np.array([value], array.dtype), array[1:]])


LIES: dict[str, list[tuple[Callable[[Array], Array | None], str]]] = {
    "words": [(lambda a: None, r"expected float16 \(\d+, \d+\), got nothing"),
              (lambda a: a[:, 1:], r"expected float16 \(\d+, (\d+)\), got float16 \(\d+, \d+\)"),
              (lambda a: np.full_like(a, 6e4), "expected shares of at most 1000")],
    "projection": [(lambda a: a[:, 1:], "expected float16"), (lambda a: a.astype("f"), "expected float16"),
                   (lambda a: a[0, 0], "expected float16")],
    "mean": [(lambda a: a[0], r"expected float32 \(\d+,\), got float32 \(\)"),
             (lambda a: np.bytes_("b"), "expected floats or unsigned integers")],
    "std": [(at_first(number), "expected numbers of at least 1e-12") for number in (0, -1, 1e-38)],
    "images": [(lambda a: a[:0], r"expected float32 \(1,\)"),
               *((at_first(n), "expected a whole number from 1 to") for n in (0, 40.5, 1e38))],
    "counts": [(at_first(n), "expected 0, or 1 to the 40 images") for n in (41, -1, 0.5)],
    "bias": [(at_first(1001), "expected shares of at most 1000")],
    "names": [(at_first(1), "expected .*, and 0 for special tokens"), (lambda a: a.astype("f"), "expected uint8")],
    "rare": [(lambda a: a + np.uint8(2), "expected numbers of at most 1"), (lambda a: a[:, 1:], "expected uint8")],
    "norm": [(lambda _: np.ones(1, "f"), "unknown; expected mean, std, projection, words, bias, counts, names, ra")],
    "components": [(lambda a: None, r"expected float32 \(1, \d+\), got nothing"),
                   (lambda a: a[:0], r"expected float32 \(1, \d+\)"),
                   (lambda a: 3e38 * a, "expected numbers of at most 1.01")],
    "residuals": [(lie, "expected numbers of at least 0 in ascending") for lie in (at_first(-1), lambda a: a[::-1])],
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_summary_with_other_numbers_than_those_of_images_is_rejected(name: str, own_run: Path) -> None:
    path = own_run / "last.h5"
    saved = checkpoint.load(path)
    saved.summary.update(components=np.eye(2, saved.meta.feature_dim, dtype="f"), residuals=np.float32([1, 2]))
    for change, message in [(lambda array: array, ""), *LIES[name]]:
        arrays = saved.summary | {name: change(saved.summary.get(name))}
        whole = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
        checkpoint.save(path, dataclasses.replace(saved, summary=whole))
        if not message:
            open_checkpoint(path)
            continue
        with pytest.raises(CheckpointError, match=rf"^{path}: .*array summary/{name}: {message}"):
            open_checkpoint(path)


@pytest.fixture(scope="module")
def restored(tiny_run: Path) -> SavedModel:
    return open_checkpoint(tiny_run / "last.h5")


@pytest.fixture(scope="module")
def corpus(restored: SavedModel) -> Corpus:
    return build_corpus(restored.config)


def test_another_data_set_is_rejected(restored: SavedModel, corpus: Corpus) -> None:
    words = list(corpus.vocab.words)
    count = len(words)
    for changes, message in (
        (
            {"vocab": Vocab([*words[:6], "new", *words[7:]])},
            f"vocabulary: .* got {count} words, different from id 6 on",
        ),
        ({"vocab": Vocab([*words, "new"])}, f"vocabulary: .* got {count + 1} words, different from id {count} on"),
        ({"encoder": "vgg16_fc7"}, "features: expected encoder .*, got vgg16_fc7; .* captioner prepare --encoder sc"),
    ):
        with pytest.raises(CheckpointError, match=f"^{restored.path}: {message}"):
            check_corpus(restored, dataclasses.replace(corpus, **changes))


@pytest.fixture(scope="module")
def saved(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("standardized") / "run"
    for _ in train(parse("", "", read_overrides([*small, "train.max_steps=2", "data.standardize=true"])), folder):
        pass
    return checkpoint.load(folder / "last.h5")


def standardized(name: str, value: float) -> Callable[[Checkpoint], object]:
    return lambda saved: saved.standardizer[name].fill(value)


LEAST = "array standardizer/std: expected numbers of at least 1e-12, got"
FINITE = "(expected finite log-probabilities|the gradients of this model are not finite)"
CHANGES: dict[str, tuple[Callable[[Checkpoint], object], str]] = {
    "std 0": (standardized("std", 0.0), LEAST),
    "std 1e-38": (standardized("std", 1e-38), LEAST),
    "mean beyond float32": (standardized("mean", 1e300), FINITE),
    "weights 3e38": (lambda saved: [array.fill(3e38) for array in saved.params.values()], FINITE),
}


# Every change is found by one command, and one change by every command.
PAIRS = [
    *((name, "sample") for name in CHANGES),
    *(("mean beyond float32", command) for command in ("evaluate", "inspect gradients --word 2")),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as the command does
@pytest.mark.parametrize(("name", "command"), PAIRS)
def test_non_finite_log_probabilities_are_one_error_line(
    name: str, command: str, saved: Checkpoint, cli: Callable[..., Any], tmp_path: Path
) -> None:
    change, message = CHANGES[name]
    changed, path = copy.deepcopy(saved), tmp_path / "odd.h5"
    change(changed)
    checkpoint.save(path, changed)
    done = cli(*command.split(), path)
    done.failed(1, "")
    assert re.search(message, done.err)
