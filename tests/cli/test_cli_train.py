"""captioner train: messages, the progress bar, run folders, exit codes and --overfit."""

import dataclasses
import io
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import progress
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import load, parse
from captioner.files import checkpoint
from captioner.training.solver import Step
from captioner.training.train import Event, Started, train


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("encoder", "command"),
    [("everyday,sha256=" + "0f" * 32, "caption PHOTO --model new"), ("features:a.h5", "sample new -n 10")],
)
def test_the_next_command_has_photographs_if_the_encoder_is_known(
    encoder: str, command: str, small: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def events() -> Iterator[Event]:
        for event in train(parse("", "", read_overrides([*small, "train.epochs=1"])), "new"):
            if isinstance(event, Started):
                config = dataclasses.replace(
                    event.config, data=dataclasses.replace(event.config.data, source="prepared")
                )
                event = event._replace(config=config, corpus=dataclasses.replace(event.corpus, encoder=encoder))
            yield event

    progress.show_training(events())
    assert capsys.readouterr().err.endswith(f"next: captioner {command}\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.smoke
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_the_progress_bar_needs_a_terminal(
    stream: type[io.StringIO], small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", shown := stream())
    monkeypatch.setenv("NO_COLOR", "1")
    progress.show_training(train(parse("", "", read_overrides([*small, "train.epochs=2"])), "new"))
    assert ("\r" in shown.getvalue()) is (stream is Terminal)
    assert "\x1b" not in shown.getvalue().replace("\x1b[A", "")
    assert re.search(r"[\r\n]epoch 1  validation loss ", shown.getvalue())
    if stream is Terminal:
        assert re.search(r"8/8 .*s(tep)?/s(tep)?", shown.getvalue())


METRICS = {
    "loss 2.346 per word, ": {"word_loss": 2.34567, "perplexity": 10.4},
    "reward 0.812, advantage 0.038, ": {"reward": 0.81234, "advantage": 0.0381},
}


@pytest.mark.parametrize("expected", METRICS)
def test_the_progress_bar_shows_the_metrics_of_the_objective(
    expected: str, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    events = train(parse("", "", read_overrides([*small, "train.epochs=1"])), "new")
    progress.show_training(
        event._replace(metrics=METRICS[expected]) if isinstance(event, Step) else event for event in events
    )
    assert re.search(rf"{re.escape(expected)}[\d,]+ words/s", shown.getvalue())


@pytest.mark.slow
def test_the_folder_is_named_after_the_config_or_the_source(
    cli: Callable[..., Any], small_options: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text("seed: 3\n")
    for args, folder in ((["-c", "mine.yaml"], "runs/mine"), ([], "runs/scenes"), (["--run", "a/b"], "a/b")):
        assert cli("train", *args, *small_options, "-o", "train.max_steps=1").code == 0
        assert load(Path(folder, "config.yaml")).seed == (3 if args and args[0] == "-c" else 0)


@pytest.mark.slow
def test_an_overwritten_run_is_renamed(
    cli: Callable[..., Any], own_run: Path, small_options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_run.rename(own_run.parent / "my run")
    files = {name: (run / name).read_bytes() for name in ("best.h5", "last.h5", "config.yaml")}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["captioner.cli.train"], "stop_signals", lambda: nullcontext([signal.SIGINT]))
        done = cli("train", *small_options, "--run", run, "--overwrite")
    assert done.code == 130
    assert done.err.endswith(f"; continue with captioner train --resume '{run}'\n")
    assert "stopped after 1 step," in done.err
    old = run.with_name("my run.old")
    assert {name: (old / name).read_bytes() for name in files} == files
    assert cli("sample", old, "-n", 1).code == 0
    assert cli("train", "--resume", run).code == 0


def test_a_moved_data_set(cli: Callable[..., Any], photo_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(photo_run, tmp_path / "run"))
    data = shutil.copy(photo_run.parent / "data.h5", tmp_path / "my data.h5")
    lost = str(tmp_path / "gone.h5")
    for name in ("last.h5", "best.h5"):
        saved = checkpoint.load(run / name)
        meta = dataclasses.replace(saved.meta, config={**saved.meta.config, "data.root": lost})
        checkpoint.save(run / name, dataclasses.replace(saved, meta=meta))
    (run / "config.yaml").unlink()
    message = f"captioner: {lost}: data set not found; if it has moved, try -o data.root=NEW\n"
    for command in (("train", "--resume", run), ("sample", run, "--split", "val")):
        assert cli(*command) == (1, "", message)
    failed = cli("train", "--resume", run, "--data", data)
    assert failed.code == 2
    assert failed.err.endswith(f"-o and --mpi; if the data set has moved: -o data.root='{data}'\n")
    assert cli("train", "--resume", run, "-o", f"data.root={data}").code == 0


OVERFIT = ("model.hidden_dim=24", "model.wordvec_dim=12", "train.learning_rate=0.02", "data.scenes.train=12")


@pytest.mark.slow
def test_overfitting_passes_or_fails_with_what_to_try(cli: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    done = cli("train", *small_options, "--overfit", 3, *(f"--set={option}" for option in OVERFIT))
    assert done.code == 0
    passed = r"PASS: loss 0\.0\d+ per caption on 3 captions after \d+ steps \(below 0\.1\)\n"
    assert re.fullmatch(passed, done.out), done.out
    assert load(Path("runs/scenes-overfit/config.yaml")).data.max_train == 3
    assert cli("sample", "runs/scenes-overfit", "--split", "train", "-n", 1).code == 0
    done = cli("train", *small_options, "--overfit", 3, "-o", "train.max_steps=2", "--run", "new")
    assert done.code == 1
    failed = (
        r"FAIL: loss \d+\.\d+ per caption on 3 captions after 2 steps, expected below 0\.1; try another "
        r"train\.learning_rate, a larger model or train\.max_steps, .*\n"
    )
    assert re.fullmatch(failed, done.out), done.out


def test_overfitting_refuses_options_that_regularize(cli: Callable[..., Any]) -> None:
    options = ("model.dropout_hidden=0.5", "train.label_smoothing=0.1", "train.ema_decay=0.9", "train.schedule=cosine",
               "train.warmup_steps=5.0", "data.max_train=9")  # fmt: skip
    done = cli("train", "--overfit", 3, *(f"--set={option}" for option in options), "-o", "train.patience=null")
    needed = ("0.0", "0.0", "null", "constant", "0.0", "3")
    assert done == (2, "", "".join(
        f"captioner: -o {option}: has no effect on train --overfit, which sets it to {value}; leave it out\n"
        for option, value in zip(options, needed, strict=True)
    ))  # fmt: skip
