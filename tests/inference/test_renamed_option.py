"""Configs of older versions, with model.cell for model.decoder: runs, checkpoints, packages and tensor files."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.config.yaml_io import parse
from captioner.errors import ConfigError
from captioner.inference.load import load, open_run
from captioner.storage import checkpoint
from captioner.training.resume import resume

ADDED = ("layers", "heads", "feed_forward_dim", "norm", "activation", "dropout_layers")


def as_before(text: str) -> str:
    """The config as an older version wrote it."""
    lines = [line for line in text.splitlines(True) if not line.strip().startswith(tuple(f"{name}:" for name in ADDED))]
    old = "".join(lines).replace("  decoder: ", "  cell: ")
    assert "  cell: lstm\n" in old
    return old


@pytest.fixture
def old_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run of an older version."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "old"))
    for name in ("best.h5", "last.h5"):
        saved = checkpoint.load(run / name)
        meta = dataclasses.replace(saved.meta, config=as_before(saved.meta.config))
        checkpoint.save(run / name, dataclasses.replace(saved, meta=meta))
    (run / "config.yaml").write_text(as_before((run / "config.yaml").read_text()))
    return run


def test_an_old_run_is_opened_captioned_resumed_and_reported(
    old_run: Path, tiny_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert open_run(old_run).config == open_run(tiny_run).config
    assert "lstm" in repr(load(old_run))
    list(resume(old_run, ["train.epochs=3"]))
    assert "  decoder: lstm\n" in checkpoint.load(old_run / "last.h5").meta.config
    done = cli("report", old_run, "--output", tmp_path / "report.html")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("text", "overrides", "place"),
    [("model:\n  cell: rnn", [], "my.yaml:2: model.cell"), ("", ["model.cell=rnn"], "-o model.cell=rnn")],
)
def test_the_old_name_in_a_config_is_answered_with_the_new_one(text: str, overrides: list[str], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml", overrides)
    assert str(caught.value) == f"{place}: unknown option (did you mean model.decoder?)"
