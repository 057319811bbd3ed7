"""Checkpoints with wrong metadata are refused with the field."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import META, error_of, image_of, replace, sealed

from captioner.storage.checkpoint import Meta


def test_a_file_from_before_attention_has_no_regions() -> None:
    values = dataclasses.asdict(META)
    assert (values.pop("region_dim"), values.pop("grid")) == (0, [])
    assert Meta.from_json(json.dumps(values)) == META


GOOD = vars(META)
WRONG_META: dict[str, tuple[object, str]] = {
    "list": ([], "expected the fields best, config"),
    "missing": ({name: value for name, value in GOOD.items() if name != "step"}, "missing or unknown: step"),
    "unknown": ({**GOOD, "more": 1}, "missing or unknown: more"),
    "config": ({**GOOD, "config": 1}, "config"),
    "environment": ({**GOOD, "environment": ["numpy"]}, "environment"),
    "environment_of_numbers": ({**GOOD, "environment": {"threads": 2}}, "environment"),
    "environment_with_an_escape_sequence": ({**GOOD, "environment": {"blas": "\x1b[2J"}}, "environment"),
    "step_text": ({**GOOD, "step": "7"}, "step"),
    "step_bool": ({**GOOD, "step": True}, "step"),
    "step_float": ({**GOOD, "step": 7.0}, "step"),
    "step_below_0": ({**GOOD, "step": -1}, "step"),
    "since_best_below_0": ({**GOOD, "since_best": -1}, "since_best"),
    "width_0": ({**GOOD, "feature_dim": 0}, "feature_dim"),
    "grid_of_one_number": ({**GOOD, "grid": [3]}, "grid"),
    "grid_below_1": ({**GOOD, "grid": [3, 0]}, "grid"),
    "grid_of_texts": ({**GOOD, "grid": ["3", "3"]}, "grid"),
    "words": ({**GOOD, "words": "a b"}, "words"),
    "a_word": ({**GOOD, "words": ["a", 1]}, "words"),
    "probe": ({**GOOD, "probe": ["x"]}, "probe"),
    "probe_nan": ({**GOOD, "probe": [float("nan")]}, "probe"),
    "best_list": ({**GOOD, "best": [1]}, "best"),
    "best_without_loss": ({**GOOD, "best": {"step": 1, "epoch": 1}}, "best"),
    "best_loss_text": ({**GOOD, "best": {"step": 1, "epoch": 1, "loss": "low"}}, "best"),
    "best_loss_nan": ({**GOOD, "best": {"step": 1, "epoch": 1, "loss": float("nan")}}, "best"),
}


@pytest.mark.parametrize("name", WRONG_META)
def test_a_wrong_meta_is_refused_with_its_field(name: str, tmp_path: Path) -> None:
    values, field = WRONG_META[name]
    path = tmp_path / "last.h5"
    text = np.bytes_(json.dumps(values).encode())
    path.write_bytes(sealed(image_of(lambda file: replace(file, "meta", data=text))))
    assert field in error_of(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"step": 1e999}'])
def test_a_meta_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(sealed(image_of(lambda file: replace(file, "meta", data=np.bytes_(text.encode() or b" ")))))
    error_of(path)
