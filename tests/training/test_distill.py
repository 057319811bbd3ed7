"""Distillation: teachers, captions of an earlier distillation, and the command."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from distilling import BEAM, STUDENT, captions_of, randomize

from captioner.cli.progress import show
from captioner.config.yaml_io import parse
from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import find_checkpoint
from captioner.inference.load import open_run
from captioner.storage import sealed
from captioner.training import teacher_captions
from captioner.training.distill import distill
from captioner.training.events import Captioned
from captioner.training.resume import resume
from captioner.training.train import train


def test_the_run_records_its_teachers_and_trains_like_any_other(
    student: Callable[..., Path], teacher: Path, cli: Callable[..., Any]
) -> None:
    run = student("student")
    assert open_run(run).config.train.init_from == teacher
    digest = (teacher / "best.h5").read_bytes().partition(b"\n")[0].split()[-1].decode()
    summary = json.loads((run / "summary.json").read_text())
    (recorded,) = summary["teachers"]
    assert (recorded["name"], recorded["checkpoint"], recorded["decode"]["beam_width"]) == ("run", digest, 6)
    assert str(teacher).encode() not in (run / "captions.h5").read_bytes()
    evaluated = cli("evaluate", run, "--json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out).keys() >= {"bleu4", "cider_d"}


def test_a_model_package_is_a_teacher(bird_package: Path, student: Callable[..., Path]) -> None:
    run = student("student", teachers=[bird_package], teacher_overrides=["decode.beam_width=3"])
    weights = find_checkpoint(bird_package)
    assert teacher_captions.load(run / "captions.h5").provenance.checkpoints == [sealed.digest(weights)]


def test_captions_of_an_earlier_distillation_are_used_again(
    student: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = student("first")
    monkeypatch.setattr(teacher_captions, "generate", lambda *_: pytest.fail("generated again"))
    for captions in (first, first / "captions.h5"):
        again = student("again", "distill.captions_per_image=5", captions=captions, overwrite=True)
        assert (again / "captions.h5").read_bytes() == (first / "captions.h5").read_bytes()
    student("first", "train.epochs=1", overwrite=True)  # in the same folder without --captions
    list(resume(again, ["train.epochs=3"]))


def test_an_ensemble_of_two_writes_its_own_captions(
    student: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    other = randomize(Path(shutil.copytree(teacher, tmp_path / "other-teacher")), seed=1)
    alone, both = student("alone"), student("both", teachers=[teacher, other])
    vocab = open_run(alone).vocab
    assert captions_of(alone, vocab) != captions_of(both, vocab)
    names = [one["name"] for one in json.loads((both / "summary.json").read_text())["teachers"]]
    assert names == ["run", "other-teacher"]
    student("again", captions=both)  # one of the teachers is enough
    with pytest.raises(CheckpointError, match=r"expected captions of .*other-teacher/best.h5, got those of run; name"):
        student("wrong", teachers=[other], captions=alone)


@pytest.mark.parametrize(
    "options",
    [
        ("model.cell=rnn", "model.image_input=first"),
        ("model.cell=gru", "model.image_input=every", "data.standardize=true"),
        ("model.attention=adaptive", "model.attention_dim=8", "train.captions_per_image=3"),
    ],
)
def test_every_model_can_teach_itself(options: Sequence[str], small: Sequence[str], tmp_path: Path) -> None:
    list(train(parse("", "", [*small, *options, "train.max_steps=2"]), tmp_path / "run"))
    teacher = randomize(tmp_path / "run", scale=0.1)
    for name, more in (("same", ()), ("new", ("train.init_from=null", "model.cell=lstm", "model.attention=none"))):
        list(distill([teacher], tmp_path / name, (*STUDENT, *more, "train.max_steps=2"), BEAM))
        list(resume(tmp_path / name, ["train.max_steps=3"]))


def test_prepared_photographs(photo_run: Path, tmp_path: Path) -> None:
    list(distill([photo_run], tmp_path / "student", ["train.max_steps=2"], ["decode.beam_width=3"]))
    assert (tmp_path / "student" / "best.h5").exists()


def test_images_of_another_training_split_are_recognized_by_their_features(student: Callable[..., Path]) -> None:
    run = student("student", "data.max_train=9")
    assert 1 <= teacher_captions.load(run / "captions.h5").total <= 9


def test_the_whole_command(teacher: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "student"
    options = [f"--set={one}" for one in STUDENT]
    done = cli("distill", teacher, "--run", run, "--teacher-set", "decode.beam_width=4", *options)
    assert done.code == 0
    assert done.err.splitlines()[:2] == [
        "teacher run: 40 training images to caption, 0 done; beam width 4",
        "scenes: train 40 images 120 captions, val 10 images 50 captions, test 5 images 25 captions, heldout 5 images "
        "25 captions; 41 words",
    ]
    resumed = cli("train", "--resume", run)
    assert resumed.code == 0
    assert "nothing left to do" in resumed.err
    again = cli("distill", teacher, "--run", run)
    assert (again.code, again.err) == (
        2,
        "captioner: distill.captions_per_image: expected at most the beam width of run, 1, got 3; "
        "try --teacher-set decode.beam_width=10, or -o distill.captions_per_image=1\n",
    )


def test_progress_of_the_teachers(capsys: pytest.CaptureFixture[str]) -> None:
    show(iter([Captioned(Path("run"), n, 4, ["a", "b"], 10) for n in (0, 2, 4)]))
    show(iter([Captioned(Path("run"), 4, 4, ["a"], 10)]))
    assert capsys.readouterr().err.splitlines() == [
        "teacher a, b: 4 training images to caption, 0 done; beam width 10",
        "teacher a: 4 training images captioned already; beam width 10",
    ]
