"""The progress bar of a training and the table of its profile."""

import io
import re
from pathlib import Path

import pytest

from captioner.cli import training_progress
from captioner.config.yaml_io import parse
from captioner.training.solver import Step
from captioner.training.train import train


def test_the_table_of_the_profile() -> None:
    profile = {"reading": 0.104, "forward": 20.25, "validation": 33.0, "other": 1234.567}
    assert training_progress._profile({"profile": profile, "seconds": 1287.921}) == [
        "reading          0.1 s   0.0 %",
        "forward         20.2 s   1.6 %",
        "validation      33.0 s   2.6 %",
        "other        1,234.6 s  95.9 %",
        "total        1,287.9 s 100.0 %",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.smoke
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_the_progress_bar_needs_a_terminal(
    stream: type[io.StringIO], small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", shown := stream())
    monkeypatch.setenv("NO_COLOR", "1")
    training_progress.show(train(parse("", "", [*small, "train.epochs=2"]), tmp_path / "new"))
    assert ("\r" in shown.getvalue()) is (stream is Terminal)
    assert "\x1b" not in shown.getvalue().replace("\x1b[A", "")
    assert re.search(r"[\r\n]epoch 1  validation loss ", shown.getvalue())
    if stream is Terminal:
        assert re.search(r"8/8 .*step/s", shown.getvalue())


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"word_loss": 2.34567, "perplexity": 10.4}, "loss 2.346 per word, "),
        (
            {"reward": 0.81234, "greedy_reward": 0.75, "advantages": 0.9375},
            "reward 0.812, greedy 0.750, 94% with nonzero advantage, ",
        ),
    ],
)
def test_the_progress_bar_shows_the_metrics_of_the_objective(
    metrics: dict[str, float], expected: str, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    events = train(parse("", "", [*small, "train.epochs=1"]), tmp_path / "new")
    training_progress.show(event._replace(metrics=metrics) if isinstance(event, Step) else event for event in events)
    assert re.search(rf"{re.escape(expected)}[\d,]+ words/s", shown.getvalue())
