"""Wrong teachers, captions and options of a distillation are reported in one line, and nothing is lost."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.config.yaml_io import parse
from captioner.errors import CaptionerError, CheckpointError, ConfigError, UsageError
from captioner.training import teacher_captions
from captioner.training.distill import distill
from captioner.training.resume import resume
from captioner.training.train import train


def test_captions_of_other_rows_are_rejected(student: Callable[..., Path], tmp_path: Path) -> None:
    file = student("run1") / "captions.h5"
    found = teacher_captions.load(file)
    for change in (1, 10**6):
        moved = dataclasses.replace(found, arrays={**found.arrays, "images": found.arrays["images"] + np.int32(change)})
        teacher_captions.save(tmp_path / "moved.h5", moved)
        with pytest.raises(CheckpointError, match="expected captions of the first of 40 training images"):
            student(f"moved-{change}", captions=tmp_path / "moved.h5")
    twice = dataclasses.replace(found.provenance, teachers=["a", "b"])
    teacher_captions.save(tmp_path / "twice.h5", dataclasses.replace(found, provenance=twice))
    with pytest.raises(CheckpointError, match="expected one checkpoint of each teacher"):
        teacher_captions.load(tmp_path / "twice.h5")


def test_wrong_input_is_one_line(
    student: Callable[..., Path], teacher: Path, coco_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    def problem(error: type[CaptionerError], *overrides: str, **arguments: Any) -> str:
        with pytest.raises(error) as caught:
            student("wrong", *overrides, **arguments)
        assert not (tmp_path / "wrong").exists()
        assert str(caught.value).count("\n") == 0
        return str(caught.value)

    assert "not found; expected a run folder" in problem(CheckpointError, teachers=[tmp_path / "none"])
    assert "an ensemble needs one shared vocabulary" in problem(CheckpointError, teachers=[teacher, coco_run])
    assert "got 7; try --teacher-set decode.beam_width=10" in problem(ConfigError, "distill.captions_per_image=7")
    sampling = problem(ConfigError, teacher_overrides=["decode.method=sampling"])
    assert sampling.startswith("decode.method: expected beam for a teacher, got sampling in ")
    assert "(train.init_from), got 9; change it" in problem(ConfigError, "model.hidden_dim=9")
    another = (f"data.root={coco_run.parent / 'data'}", "data.source=cs231n", "train.init_from=null")
    assert "vocabulary: expected the 45 words of the checkpoint" in problem(CheckpointError, *another)
    assert "not found; expected a teacher caption set from `captioner distill`" in problem(
        CheckpointError, captions=tmp_path / "none"
    )
    assert "not a captioner teacher caption set" in problem(CheckpointError, captions=teacher / "best.h5")
    assert "--teacher-set has no effect with --captions" in problem(
        UsageError, captions=teacher, teacher_overrides=["decode.beam_width=3"]
    )
    with pytest.raises(ConfigError, match="distillation needs a teacher; try `captioner distill TEACHER`"):
        list(train(parse("", "", ["train.objective=distillation"]), tmp_path / "wrong"))
    missing = cli("distill", coco_run, "--run", tmp_path / "wrong", "-o", "data.root=nowhere")
    assert missing.err.count("\n") == 1
    assert "nowhere: data set not found; if it has moved, try -o data.root=NEW" in missing.err
    for words, message in (
        (["-o", "train.objective=cross_entropy"], "train.objective has no effect on distill"),
        (["--teacher-set", "train.epochs=3"], "train.epochs has no effect on the teachers; it uses decode.*"),
    ):
        done = cli("distill", teacher, "--run", tmp_path / "wrong", *words)
        assert done.code == 2
        assert message in done.err


def test_other_captions_are_rejected(student: Callable[..., Path]) -> None:
    run, other = student("run1"), student("other", "data.max_train=60")
    file = run / "captions.h5"
    with pytest.raises(CheckpointError, match="expected captions for the training split of the data set"):
        student("third", captions=other)
    shutil.copy(student("narrow", teacher_overrides=["decode.beam_width=4"]) / "captions.h5", file)
    with pytest.raises(UsageError, match="the captions, images or splits have changed since training began"):
        list(resume(run, ["train.epochs=3"]))
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged: its content does not match its seal; `captioner distill --o"):
        list(resume(run, ["train.epochs=3"]))


@pytest.mark.parametrize("way", ["folder", "link", "checkpoint"])
def test_a_student_never_replaces_its_teacher(way: str, teacher: Path, tmp_path: Path) -> None:
    run = teacher
    (tmp_path / "link").symlink_to(run)
    folder = tmp_path / "link" if way == "link" else run
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    with pytest.raises(UsageError, match="is the folder of the teacher "):
        list(distill([run / "best.h5" if way == "checkpoint" else run], folder, overwrite=True))
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before
