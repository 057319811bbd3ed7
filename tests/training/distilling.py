"""A teacher with varied captions, and students that are distilled from it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.vocabulary import Vocab
from captioner.storage import checkpoint
from captioner.training import teacher_captions
from captioner.training.distill import distill

BEAM = ("decode.beam_width=6", "decode.consensus=300", "decode.max_length=8")
STUDENT = ("train.batch_size=16", "train.log_every=1", "train.epochs=2", "validate.score_every=null")
STUDENT += ("validate.best_metric=loss",)


def randomize(run: Path, seed: int = 0, scale: float = 1) -> Path:
    """Give a run large random parameters, so that the captions of images differ."""
    saved, rng = checkpoint.load(run / "best.h5"), np.random.default_rng(seed)
    for array in saved.params.values():
        array[...] = scale * rng.standard_normal(array.shape)
    saved.params["b_vocab"][2] += 3 * scale  # <END>
    checkpoint.save(run / "best.h5", saved)
    return run


@pytest.fixture
def teacher(own_run: Path) -> Path:
    """The folder of a teacher whose captions differ."""
    return randomize(own_run)


@pytest.fixture
def student(teacher: Path, tmp_path: Path) -> Callable[..., Path]:
    """Distills a student in a new folder, by default from `teacher`, and returns the folder."""

    def run(name: str, *overrides: str, teachers: Sequence[Path] = (), **arguments: Any) -> Path:
        arguments.setdefault("teacher_overrides", () if arguments.get("captions") else BEAM)
        list(distill(teachers or [teacher], tmp_path / name, (*STUDENT, *overrides), **arguments))
        return tmp_path / name

    return run


def captions_of(run: Path, vocab: Vocab) -> list[list[str]]:
    """The teacher captions of each image, best first."""
    a = teacher_captions.load(run / "captions.h5").arrays
    words = iter(np.split(a["words"], np.cumsum(a["lengths"])[:-1]))
    return [[" ".join(vocab.decode(next(words).tolist())) for _ in range(count)] for count in a["counts"]]
