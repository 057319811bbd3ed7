"""Training that starts from a model: its name, its sizes, a warm-up as a share, and the start as first validation."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import TrainRun, assert_same_arrays, history, kinds, summary

from captioner.captioning import find_checkpoint
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.cli import progress
from captioner.config.options import Config, Model, Prepare, Train
from captioner.config.overrides import checked_values, override
from captioner.config.yaml_io import parse
from captioner.errors import ConfigError
from captioner.photos.prepare import prepare
from captioner.training import initialize, train
from captioner.training.resume import resume
from captioner.training.train import Ended, Validated

WORSE = "train.learning_rate=1"
SCST = ("train.objective=self_critical", "decode.max_length=8")
SIX = ("train.max_steps=6", "train.learning_rate=0.01", "train.log_every=1")
KILLED = """
import os, sys
from captioner.training.run_folder import RunFolder
setattr(RunFolder, sys.argv.pop(1), lambda *_: os.kill(os.getpid(), 9))
from captioner.cli import main
main()
"""
"""The command line, killed where the run folder first does something."""


@pytest.fixture
def everyday(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model in the place of the default model, and a folder of its name."""
    model = tmp_path / "models.h5"
    shutil.copy(tiny_run / "best.h5", model)
    monkeypatch.setattr(find_checkpoint, "DEFAULT_MODEL", model.with_stem("everyday"))
    monkeypatch.setattr(initialize, "DEFAULT_MODEL", model.rename(find_checkpoint.DEFAULT_MODEL))
    monkeypatch.chdir(tmp_path)
    return find_checkpoint.DEFAULT_MODEL


@pytest.fixture(scope="module")
def data_options(small_options: Sequence[str]) -> list[str]:
    return [option for option in small_options if "model." not in option]


@pytest.mark.parametrize("words", [("-c", "folder/mine.yaml"), ("-otrain.init_from=everyday",)])
def test_the_name_of_the_default_model(
    words: Sequence[str], everyday: Path, cli: Callable[..., Any], data_options: Sequence[str]
) -> None:
    """Whatever folder the config is in, and in the copies of it; the folder of this name would be ./everyday."""
    for folder in ("everyday", "folder"):
        Path(folder).mkdir()
    Path("folder/mine.yaml").write_text("train:\n  init_from: everyday\n")
    assert cli("train", *words, *data_options, "-otrain.epochs=1", "--run", "run").code == 0
    assert history(Path("run"))[0]["checkpoint"] == str(everyday)
    assert "  init_from: everyday\n" in Path("run/config.yaml").read_text()
    everyday.unlink()
    assert cli("train", "--resume", "run", "-otrain.epochs=2").code == 0
    assert cli("export", "run", "--output", "mine.h5", "--license", "mit").code == 0
    assert open_run(Path("mine.h5")).config.train.init_from == "everyday"
    done = cli("train", "-otrain.init_from=run", "--run", "new")
    done.failed(2, "train.init_from: expected everyday or a path, such as ./run, got run")


def test_a_path_of_python_is_no_name() -> None:
    """`Path` removes the ./ of a path."""
    assert checked_values({"train.init_from": Path("./run")}) == {"train.init_from": Path.cwd() / "run"}
    assert checked_values({"train.init_from": "everyday"}) == {"train.init_from": "everyday"}


def test_the_name_in_a_command_unless_a_path_has_it(everyday: Path, cli: Callable[..., Any], own_run: Path) -> None:
    done = cli("evaluate", own_run, "everyday")
    assert (done.code, "everyday" in done.out) == (0, True)
    Path("everyday").mkdir()
    cli("evaluate", own_run, "everyday").failed(1, "everyday: no checkpoint found")
    everyday.rename("everyday/best.h5")
    assert cli("evaluate", own_run, "everyday").code == 0


def test_what_differs_from_the_defaults_is_given(tiny_run: Path, tmp_path: Path) -> None:
    """A Config made in Python does not know what was set."""
    base, start = open_run(tiny_run).config, Config(train=Train(init_from=tiny_run))
    of_base = dataclasses.replace(base, data=dataclasses.replace(base.data, standardize=True))
    shaped = initialize.shaped_like(start, of_base)
    assert (shaped.model, shaped.data.standardize) == (Model(hidden_dim=16, wordvec_dim=16), True)
    with pytest.raises(ConfigError, match=r"hidden_dim: expected 16 as in .*, got 32; try -o "):
        list(train.train(dataclasses.replace(start, data=base.data, model=Model(hidden_dim=32)), tmp_path / "run"))


def test_an_option_that_the_config_ignores_is_not_given() -> None:
    """Else its default, not the value of the base model, would be compared with that of the base model."""
    config, base = parse("model: {layers: 2}", "mine.yaml"), {"model.decoder": "transformer", "model.layers": 2}
    assert initialize.shaped_like(config, override(Config(), base)).model.layers == 2


def test_a_warm_up_below_1_is_a_share_of_all_steps(train_run: TrainRun) -> None:
    """Also of those of a run that is trained longer."""
    share, steps = (train_run("train.epochs=1", f"train.warmup_steps={warmup}") for warmup in ("0.5", "2"))
    assert_same_arrays(share, steps)
    list(resume(share, {"train.epochs": 2}))
    list(resume(steps, {"train.epochs": 2, "train.warmup_steps": 4.0}))
    assert_same_arrays(share, steps)


@pytest.mark.parametrize("more", [(), ("validate.every=2",), SCST, ("validate.best_metric=cider_d",)])
def test_a_run_that_only_makes_it_worse_ends_with_the_start(
    more: Sequence[str], train_run: TrainRun, tiny_run: Path
) -> None:
    run = train_run(f"train.init_from={tiny_run}", "train.epochs=9", "train.patience=1", WORSE, *more)
    best, start, ended = open_run(run), open_run(tiny_run), summary(run)
    assert (best.meta.step, ended["best"]["step"]) == (0, 0)
    assert (ended["ended"], ended["step"]) == ("early stopping", 8 if "validate.every=2" in more else ended["step"])
    features = open_corpus(best).split("val").features[:]
    models = best, dataclasses.replace(start, config=best.config)
    written, expected = ([c.text for c in Captioner(model).caption(features=features)] for model in models)
    assert written == expected
    compared = ended["compared"]
    assert (compared["images"], compared["start"]) == (10, compared["best"])


def test_the_base_is_named_if_no_epoch_is_better(
    everyday: Path, cli: Callable[..., Any], data_options: Sequence[str]
) -> None:
    """The best.h5 of epoch 0 has new words, and another regression: no command with the run is suggested."""
    options = *data_options, "-otrain.init_from=everyday", "-otrain.max_steps=2", f"-o{WORSE}"
    done = cli("train", *options, "--run", "run")
    assert done.code == 0
    for again in (done, cli("train", "--resume", "run")):
        assert again.err.splitlines()[-1].startswith(
            "not better than the model it started from: use that one, everyday; CIDEr-D "
        )


@pytest.fixture(scope="module")
def uninterrupted(train_run: TrainRun, tiny_run: Path) -> Path:
    return train_run(f"train.init_from={tiny_run}", *SIX)


def test_a_run_stopped_after_the_start_goes_on_to_the_same_bits(
    uninterrupted: Path, small_config: Callable[..., Config], tiny_run: Path, new_run: Path
) -> None:
    events = []
    for event in train.train(small_config(f"train.init_from={tiny_run}", *SIX), new_run):
        events.append(event)
        if isinstance(event, Validated):
            break
    assert (kinds(events), open_run(new_run).meta.step) == ("<v", 0)
    list(resume(new_run, stop=lambda: True))
    assert "compared" not in summary(new_run)
    list(resume(new_run))
    assert_same_arrays(new_run, uninterrupted)
    assert history(new_run) == history(uninterrupted)
    assert summary(new_run)["compared"] == summary(uninterrupted)["compared"], "the start's are those of the history"


@pytest.mark.parametrize("at", ["save", "keep_best"])
def test_a_run_killed_at_the_start_goes_on_to_the_same_bits(
    at: str, uninterrupted: Path, tiny_run: Path, shell: Callable[..., subprocess.CompletedProcess[str]],
    cli: Callable[..., Any], data_options: Sequence[str], new_run: Path,
) -> None:  # fmt: skip
    options = *data_options, f"-otrain.init_from={tiny_run}", *(f"-o{option}" for option in SIX)
    words = "train", *options, "--resume-or-start", new_run
    assert shell(at, *words, code=KILLED).returncode == -9
    assert (new_run / "last.h5").exists() == (at == "keep_best")
    for _ in range(2):
        done = cli(*words)
        assert (done.code, "differ from the given" in done.err) == (0, False)
    assert_same_arrays(new_run, uninterrupted)
    assert history(new_run) == history(uninterrupted)


def test_the_base_is_scored_on_all_sources(
    album: Callable[..., Path], train_run: TrainRun, tiny_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """With its own words, regression and decoding, as `evaluate` scores it."""
    tables, data = [str(album(tmp_path / name, 8, int(name))) for name in ("0", "30")], tmp_path / "data.h5"
    list(prepare(tables, data, Prepare(encoder="scenes", val=0.25, min_count=1)))
    run = train_run(f"train.init_from={tiny_run}", "data.source=prepared", f"data.root={data}", "train.max_steps=2")
    scored = json.loads(cli("evaluate", tiny_run, "--data", data, "--json").out)
    assert summary(run)["compared"]["start"]["cider_d"] == pytest.approx(scored["cider_d"])


SCORES, BETTER = {"cider_d": 0.4}, {"cider_d": 0.52}
VERDICTS = {
    "CIDEr-D 12.0 better than the model it started from (52.0 against 40.0": (30, BETTER, 3),
    "1 validation image: too few to choose the best epoch; compare captions of best.h5, last.h5 and everyday; "
    "perplexity 26.30 against 952.20 at the start; one photograph cannot decide": (1, {"cider_d": 0.0}, 3),
    "not better than the model it started from: use that one, everyday; CIDEr-D 40.0 against 40.0": (30, SCORES, 3),
    "29 validation images: too few to choose the best epoch; compare captions of best.h5, last.h5 and everyday; "
    "CIDEr-D 52.0": (29, BETTER, 3),
}


@pytest.mark.parametrize("expected", VERDICTS)
def test_the_verdict(expected: str) -> None:
    images, best, step = VERDICTS[expected]
    summary = {
        "best": {"step": step, "perplexity": 26.3},
        "compared": {"base": "everyday", "images": images, "perplexity": 952.2, "start": SCORES, "best": best},
    }
    (verdict,) = progress._compared(Ended(Path(), summary))
    assert verdict.startswith(expected)
