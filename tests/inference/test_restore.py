"""Restoring a model from a checkpoint: its parts must match each other and the data set."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.arrays import Params
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.restore import Restored, check_corpus, check_width, restore
from captioner.optim.update_rules import EMA
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from captioner.text.vocabulary import Vocab


def test_everything_saved_is_restored(tiny_run: Path) -> None:
    saved, restored = checkpoint.load(tiny_run / "last.h5"), restore(tiny_run / "last.h5")
    assert restored.path == tiny_run / "last.h5"
    assert restored.config == parse((tiny_run / "config.yaml").read_text(), "")
    assert restored.vocab.words == tuple(saved.meta.words)
    assert restored.meta == saved.meta
    for name, array in saved.params.items():
        np.testing.assert_array_equal(restored.model.params[name], array)
    assert restored.slots.keys() == {"m", "v"}


def test_without_training_only_the_moving_average_is_read_of_the_slots(tiny_run: Path, tmp_path: Path) -> None:
    assert restore(tiny_run / "last.h5", for_training=False).slots == {}
    saved = checkpoint.load(tiny_run / "last.h5")
    average = {name: w + 1 for name, w in saved.params.items()}
    with_average = dataclasses.replace(saved, slots={**saved.slots, EMA: average})
    checkpoint.save(tmp_path / "last.h5", with_average)
    restored = restore(tmp_path / "last.h5", for_training=False)
    assert restored.slots.keys() == {EMA}
    np.testing.assert_array_equal(restored.model.params["Wh"], average["Wh"])


def test_overrides_change_the_config(tiny_run: Path) -> None:
    restored = restore(tiny_run / "last.h5", ["decode.max_length=3", "model.dropout_hidden=0.5"])
    assert restored.config.decode.max_length == 3
    assert restored.model.dropout.hidden == 0.5


@pytest.mark.parametrize("override", ["model.cell=rnn", "model.hidden_dim=8", "model.dtype=float64"])
def test_overrides_cannot_change_fixed_options(override: str, tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^-o model.* as in {tiny_run}/last.h5, got .*; start a new run"):
        restore(tiny_run / "last.h5", [override])


def test_an_invalid_override_is_a_config_error(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"^-o model.hiden_dim=8: unknown option \(did you mean model.hidden_dim\?\)"):
        restore(tiny_run / "last.h5", ["model.hiden_dim=8"])


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
    "unknown": (
        with_params(lambda p: p.update(W_more=p["Wh"])),
        "array params/W_more: unknown; expected W_embed, W_proj, b_proj, Wx, Wh, b, W_vocab, b_vocab",
    ),
    "shape": (
        with_params(lambda p: p.update(Wh=p["Wh"].T)),
        r"array params/Wh: expected float32 \(16, 64\), got float32 \(64, 16\)",
    ),
    "dtype": (
        with_params(lambda p: p.update(b=p["b"].astype(np.float64))),
        r"array params/b: expected float32 \(64,\), got float64 \(64,\)",
    ),
    "text": (with_params(lambda p: p.update(b=np.bytes_("b"))), r"array params/b: expected float32 \(64,\), got "),
    "byte_order": (with_params(lambda p: p.update(b=p["b"].astype(">f4"))), "array params/b: expected float32"),
    "slot": (
        lambda saved: dataclasses.replace(saved, slots={**saved.slots, "m": {"b": saved.params["b"]}}),
        r"array slots/m/W_embed: expected float32 \(\d+, 16\), got nothing",
    ),
    "standardizer": (
        lambda saved: dataclasses.replace(saved, standardizer={"mean": np.zeros(saved.meta.feature_dim)}),
        r"array standardizer/std: expected float64 \(\d+,\), got nothing",
    ),
    "words": (lambda saved: with_meta(words=saved.meta.words[:-1])(saved), r"array params/W_embed: expected float32"),
    "width": (with_meta(feature_dim=3), r"array params/W_proj: expected float32 \(3, 16\), got float32 \(\d+, 16\)"),
    "word_twice": (
        lambda saved: with_meta(words=[*saved.meta.words[:-1], "a"])(saved),
        "meta: vocabulary: duplicate word 'a'",
    ),
    "no_end": (
        lambda saved: with_meta(words=["x", *saved.meta.words[1:]])(saved),
        "meta: vocabulary: <NULL> is missing",
    ),
    "config": (with_meta(config="seed: no\nmodle: 3\n"), r"meta: .*seed: expected .*; .*modle: unknown"),
    "config_out_of_bounds": (
        lambda saved: with_meta(config=saved.meta.config.replace("train: 40", "train: 1000000000000"))(saved),
        r"meta: .*data\.scenes\.train: expected an integer >= 1 and <= 100000, got 1000000000000",
    ),
    "config_not_yaml": (with_meta(config="{"), r"meta: .*not YAML"),
}


@pytest.mark.parametrize("name", INCONSISTENT)
def test_inconsistent_parts_are_reported(name: str, own_run: Path) -> None:
    change, message = INCONSISTENT[name]
    path = own_run / "last.h5"
    checkpoint.save(path, change(checkpoint.load(path)))
    with pytest.raises(CheckpointError, match=rf"^{path}: {message}") as caught:
        restore(path)
    assert str(caught.value).isprintable()


@pytest.fixture(scope="module")
def restored(tiny_run: Path) -> Restored:
    return restore(tiny_run / "last.h5")


@pytest.fixture(scope="module")
def corpus(restored: Restored) -> Corpus:
    return build_corpus(restored.config)


def test_the_training_data_set_is_accepted(restored: Restored, corpus: Corpus) -> None:
    check_corpus(restored, corpus)


def test_another_vocabulary_is_rejected_with_the_first_different_id(restored: Restored, corpus: Corpus) -> None:
    words = list(corpus.vocab.words)
    count = len(words)
    for other, at in (([*words[:6], "new", *words[7:]], 6), ([*words, "new"], count), (words[:-1], count - 1)):
        with pytest.raises(CheckpointError) as caught:
            check_corpus(restored, dataclasses.replace(corpus, vocab=Vocab(other)))
        assert str(caught.value) == (
            f"{restored.path}: vocabulary: expected the {count} words of the checkpoint, got {len(other)} words, "
            f"different from id {at} on; use the data set that the model was trained on"
        )


def test_a_data_set_of_another_encoder_is_rejected_on_restore(restored: Restored, corpus: Corpus) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_corpus(restored, dataclasses.replace(corpus, encoder="vgg16_fc7"))
    assert str(caught.value) == (
        f"{restored.path}: features: expected encoder {corpus.encoder}, got vgg16_fc7; "
        "use the encoder of the training images"
    )


def test_another_feature_width_is_rejected(restored: Restored) -> None:
    width = restored.meta.feature_dim
    check_width(restored, width, "new.h5")
    with pytest.raises(CheckpointError, match=rf"^new.h5: .*features: expected {width} numbers per image, got 8"):
        check_width(restored, 8, "new.h5")
