"""captioner train: messages, run folders, exit codes and --overfit."""

import dataclasses
import json
import re
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import training_progress
from captioner.config.yaml_io import load
from captioner.storage import checkpoint


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def masked(text: str) -> str:
    """Mask the numbers, which differ between machines."""
    return re.sub(r"\d[\d.,]*(?<![.,])", "#", text)


@pytest.mark.smoke
def test_messages(cli: Callable[..., Any], small_options: tuple[str, ...], golden: Callable[..., None]) -> None:
    done = cli("train", *small_options, "-o", "train.epochs=1", "--run", "new")
    assert (done.code, done.out) == (0, "")
    again = cli("train", "--resume", "new", "-o", "train.epochs=2")
    assert (again.code, again.out) == (0, "")
    golden("train.txt", masked(done.err + again.err))


LINE = r"(\w+) +([\d,]+\.\d) s +(\d+\.\d) %"


def test_the_profile_is_printed_with_profile(
    cli: Callable[..., Any], small_options: tuple[str, ...], tmp_path: Path
) -> None:
    runs = [
        cli("train", *small_options, "-o", "train.epochs=1", "--run", f"new{i}", *("--profile",) * i) for i in (0, 1)
    ]
    assert [(done.code, done.out) for done in runs] == [(0, "")] * 2
    plain, profiled = (done.err.splitlines() for done in runs)
    assert [masked(line) for line in profiled[: len(plain)]] == [masked(line) for line in plain]
    table = [re.fullmatch(LINE, line) for line in profiled[len(plain) :]]
    assert all(table)
    summary = json.loads((tmp_path / "new1" / "summary.json").read_text())
    assert [(row[1], row[2]) for row in table if row] == [
        (part, f"{seconds:,.1f}") for part, seconds in {**summary["profile"], "total": summary["seconds"]}.items()
    ]


def test_the_profile_of_a_run_without_steps(cli: Callable[..., Any], own_run: Path) -> None:
    assert "total            0.0 s   0.0 %" in training_progress._profile({"profile": {"other": 0.0}, "seconds": 0.0})
    done = cli("train", "--resume", own_run, "--profile")
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(LINE, done.err.splitlines()[-1])


def test_the_folder_is_named_after_the_config_or_the_source(
    cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text("seed: 3\n")
    for args, folder in ((["-c", "mine.yaml"], "runs/mine"), ([], "runs/scenes"), (["--run", "a/b"], "a/b")):
        assert cli("train", *args, *small_options, "-o", "train.max_steps=1").code == 0
        assert load(Path(folder, "config.yaml")).seed == (3 if args and args[0] == "-c" else 0)


def test_overwrite_replaces_the_run(cli: Callable[..., Any], own_run: Path, small_options: tuple[str, ...]) -> None:
    before = (own_run / "last.h5").read_bytes()
    assert (
        cli("train", *small_options, "-o", "seed=9", "-o", "train.max_steps=2", "--run", own_run, "--overwrite").code
        == 0
    )
    assert load(own_run / "config.yaml").seed == 9
    assert (own_run / "last.h5").read_bytes() != before


def test_an_interrupted_overwrite_keeps_the_previous_run(
    cli: Callable[..., Any],
    tmp_path: Path,
    own_run: Path,
    small_options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = own_run.rename(tmp_path / "my run")
    files = {name: (run / name).read_bytes() for name in ("best.h5", "last.h5", "config.yaml")}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["captioner.cli.train"], "stop_signals", lambda: nullcontext([signal.SIGINT]))
        done = cli("train", *small_options, "--run", run, "--overwrite")
    assert done.code == 130
    assert done.err.endswith(f"; continue with captioner train --resume '{run}'; the previous run is in {run}/before\n")
    assert "stopped after 1 step," in done.err
    assert {name: (run / "before" / name).read_bytes() for name in files} == files
    assert cli("sample", run / "before", "-n", 1).code == 0
    assert cli("train", "--resume", run).code == 0
    assert not (run / "before").exists()


def test_resume_needs_a_folder(cli: Callable[..., Any], own_run: Path) -> None:
    cli("train", "--resume", own_run / "last.h5").failed(
        2, f"{own_run}/last.h5: expected a run folder, got a file; try --resume {own_run}"
    )


def test_a_moved_data_set(cli: Callable[..., Any], photo_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(photo_run, tmp_path / "run"))
    data = shutil.copy(photo_run.parent / "data.h5", tmp_path / "my data.h5")
    old, lost = str(photo_run.parent / "data.h5"), str(tmp_path / "gone.h5")
    for name in ("last.h5", "best.h5"):
        saved = checkpoint.load(run / name)
        meta = dataclasses.replace(saved.meta, config=saved.meta.config.replace(old, lost))
        checkpoint.save(run / name, dataclasses.replace(saved, meta=meta))
    problem = f"{tmp_path}/gone.h5: data set not found; if it has moved, try -o data.root=NEW"
    message = f"captioner: {problem}\n"
    for command in (("train", "--resume", run), ("sample", run, "--split", "val")):
        assert cli(*command) == (1, "", message)
    failed = cli("train", "--resume", run, "--data", data)
    assert failed.code == 2
    assert failed.err.endswith(f"--report and --images; if the data set has moved: -o data.root='{data}'\n")
    assert cli("train", "--resume", run, "-o", f"data.root={data}").code == 0


@pytest.mark.parametrize(
    ("rate", "batch"), [("1e20", 64), ("1e39", 64), ("1e30", 256)], ids=["loss", "parameters", "validation"]
)
def test_divergence_is_one_line_and_exit_code_1(
    rate: str, batch: int, cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    options = [f"train.learning_rate={rate}", f"train.batch_size={batch}", "train.clip_norm=null"]
    done = cli("train", *small_options, *(f"--set={option}" for option in options), "--run", "new")
    assert done.code == 1
    *progress_lines, last = done.err.splitlines()
    assert re.fullmatch(r"captioner: step \d+: .*; try a smaller train.learning_rate.*; no checkpoint yet", last)
    assert len(progress_lines) == 2


def test_resuming_a_finished_run_prints_a_hint(cli: Callable[..., Any], own_run: Path) -> None:
    done = cli("train", "--resume", own_run)
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith(f"-> {own_run}; increase train.epochs to continue\n")


OVERFIT = ("model.hidden_dim=24", "model.wordvec_dim=12", "train.learning_rate=0.02", "data.scenes.train=12")


def test_overfitting_passes(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    done = cli("train", *small_options, "--overfit", 3, *(f"--set={option}" for option in OVERFIT))
    assert done.code == 0
    assert re.fullmatch(r"PASS: loss 0\.0\d+ per caption on 3 captions after \d+ steps \(below 0\.1\)\n", done.out), (
        done.out
    )
    assert load(Path("runs/scenes-overfit/config.yaml")).data.max_train == 3
    assert cli("sample", "runs/scenes-overfit", "--split", "train", "-n", 1).code == 0


def test_overfitting_fails_with_exit_code_1_and_what_to_try(
    cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    done = cli("train", *small_options, "--overfit", 3, "-o", "train.max_steps=2", "--run", "new")
    assert done.code == 1
    assert re.fullmatch(
        r"FAIL: loss \d+\.\d+ per caption on 3 captions after 2 steps, expected below 0\.1; try another "
        r"train\.learning_rate than 0\.001, a larger model\.hidden_dim than 16, .*\n",
        done.out,
    ), done.out


def test_overfitting_needs_enough_images_and_no_resume(
    cli: Callable[..., Any], own_run: Path, small_options: tuple[str, ...]
) -> None:
    cli("train", *small_options, "--overfit", 50).failed(2, "got 40; try --overfit 40")
    assert not Path("runs").exists()
    done = cli("train", "--resume", own_run, "--overfit", 3)
    assert done.code == 2
    assert "combine it only with -o, --mpi, --profile, --report and --images" in done.err
    assert cli("train", "--overfit", 0).code == 2
