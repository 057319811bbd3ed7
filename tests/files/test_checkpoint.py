"""Checkpoints are read as they were saved; metadata and groups that do not belong to one are refused."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import CheckpointError
from captioner.files.checkpoint import Checkpoint, Meta, load, save
from captioner.files.saved import MODEL, write

META = Meta(
    config={"seed": 3},
    words=["<NULL>", "<START>", "<END>", "<UNK>", "café"],
    feature_dim=2,
    encoder="drawn",
    data_digest="ab" * 32,
    train_digest="cd" * 32,
    learned="ef" * 32,
    step=7,
    best={"step": 5, "epoch": 1, "loss": 2.5},
    since_best=1,
    environment={},
)
RNG = np.random.default_rng(0)
PARAMS = {"W_proj": RNG.standard_normal((3, 4)).astype(np.float32), "b": RNG.standard_normal(5)}
WHOLE = Checkpoint(META, PARAMS, {"m": PARAMS, "v": {name: w * w for name, w in PARAMS.items()}}, {"mean": np.zeros(2)})


def assert_same(saved: Checkpoint, other: Checkpoint) -> None:
    assert saved.meta == other.meta
    assert saved.groups().keys() == other.groups().keys()
    for group, arrays in saved.groups().items():
        assert arrays.keys() == other.groups()[group].keys()
        for name, array in arrays.items():
            assert array.dtype == other.groups()[group][name].dtype
            np.testing.assert_array_equal(array, other.groups()[group][name])


def test_a_saved_checkpoint_is_loaded(tmp_path: Path) -> None:
    for best in (WHOLE.meta.best, None):
        saved = dataclasses.replace(WHOLE, meta=dataclasses.replace(WHOLE.meta, best=best))
        save(tmp_path / "last.h5", saved)
        assert_same(load(tmp_path / "last.h5"), saved)
        assert os.listdir(tmp_path) == ["last.h5"]


GOOD = dataclasses.asdict(META)
WRONG_META: dict[str, tuple[object, str]] = {
    "list": ([], "expected the fields best, card, config"),
    "missing": ({name: value for name, value in GOOD.items() if name != "step"}, "missing or unknown: step"),
    "unknown": ({**GOOD, "more": 1}, "missing or unknown: more"),
    "config": ({**GOOD, "config": 1}, "config"),
    "environment_of_numbers": ({**GOOD, "environment": {"threads": 2}}, "environment"),
    "step_bool": ({**GOOD, "step": True}, "step"),
    "step_beyond_64_bits": ({**GOOD, "step": 10**30}, "step"),
    "license_number": ({**GOOD, "card": {"license": 1}}, "card: expected texts of one line"),
    "terms_of_two_lines": ({**GOOD, "card": {"terms": "a\nb"}}, "card: expected texts of one line"),
    "unknown_text": ({**GOOD, "card": {"author": "me"}}, "card: unknown: author"),
    "score_nan": ({**GOOD, "card": {"scores": {"bleu1": float("nan")}}}, "card: scores: expected numbers"),
    "scores_text": ({**GOOD, "card": {"scores": "high"}}, "card: scores: expected numbers"),
    "scores_of_numbers": ({**GOOD, "card": {"scores": [1]}}, "card: scores: expected numbers"),
    "since_best_below_0": ({**GOOD, "since_best": -1}, "since_best"),
    "width_0": ({**GOOD, "feature_dim": 0}, "feature_dim"),
    "grid_of_one_number": ({**GOOD, "grid": [3]}, "grid"),
    "grid_below_1": ({**GOOD, "grid": [3, 0]}, "grid"),
    "a_word": ({**GOOD, "words": ["a", 1]}, "words"),
    "best_without_loss": ({**GOOD, "best": {"step": 1, "epoch": 1}}, "best"),
    "best_loss_nan": ({**GOOD, "best": {"step": 1, "epoch": 1, "loss": float("nan")}}, "best"),
}


@pytest.mark.parametrize("name", WRONG_META)
def test_a_wrong_meta_is_refused_with_its_field(name: str, tmp_path: Path) -> None:
    values, field = WRONG_META[name]
    with pytest.raises(ValueError, match=field):
        Meta.from_json(json.dumps(values))


def test_slots_are_read_by_name(tmp_path: Path) -> None:
    save(tmp_path / "last.h5", WHOLE)
    for slots in ((), ("v",), ("m", "v")):
        assert_same(
            load(tmp_path / "last.h5", slots),
            dataclasses.replace(WHOLE, slots={s: WHOLE.slots[s] for s in slots}),
        )


@pytest.mark.parametrize("name", ["other/x", "x", "params/x/y", "slots/x"])
def test_an_array_in_another_group_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    write(MODEL, path, {"params/W": np.ones(2), name: np.ones(2)}, dataclasses.asdict(META))
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: unknown '{name}'; expected meta, slots, params, standardizer, summary"


def test_integers_are_no_parameters(tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    write(MODEL, path, {"params/W": np.ones(2, int)}, dataclasses.asdict(META))
    with pytest.raises(CheckpointError, match=r"array params/W: expected floats, got int64 \(2,\)$"):
        load(path)


def test_another_meta_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    write(MODEL, path, {}, {"step": 7})
    with pytest.raises(CheckpointError, match=rf"^{path}: not readable as a model: ValueError: expected the fields"):
        load(path)
