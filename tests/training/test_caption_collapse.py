"""Captions that collapse, or are no words, are told once they should be more than that; good ones are not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.cli import progress
from captioner.config.yaml_io import parse
from captioner.data.corpus import Split
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params
from captioner.text.vocabulary import Vocab
from captioner.training import validation
from captioner.training.caption_collapse import IMAGES, collapse_warnings
from captioner.training.events import Warned
from captioner.training.train import train

VOCAB = Vocab.build([["a", "cat", "dog", "bird"]])


def split(captions: Sequence[Sequence[str]]) -> Split:
    """An image a caption, each with a feature of its own."""
    count = len(captions)
    return Split(
        captions=VOCAB.encode(captions),
        image_idxs=np.arange(count, dtype=np.int32),
        features=np.eye(count, 8 + count, dtype=np.float32),
        image_ids=[str(image) for image in range(count)],
    )


def speaker(width: int, **scores: float) -> CaptioningRNN:
    """A model that says the likeliest of these words for ever, of any image."""
    sizes = Sizes(len(VOCAB), width, 4, 4, "rnn")
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    for array in params.values():
        array[...] = 0
    for word, score in scores.items():
        params["b_vocab"][VOCAB.word_to_idx.get(word, VOCAB.unk)] = score
    return CaptioningRNN(sizes, params, VOCAB.null)


def told(model: CaptioningRNN, captions: Sequence[Sequence[str]]) -> list[str]:
    return list(collapse_warnings(model, split(captions), VOCAB, 5))


DISTINCT = [[word] for word in ("a", "cat", "dog", "bird")] * 3


def test_one_caption_for_all_is_told() -> None:
    (problem,) = told(speaker(20, cat=1.0), DISTINCT)
    assert problem.startswith("100% of 12 validation images get the same caption: ")


def test_it_is_not_told_where_people_say_the_same_too() -> None:
    assert told(speaker(20, cat=1.0), [["cat"]] * 12) == []


def test_words_that_are_none_are_told() -> None:
    problems = told(speaker(20, UNK=1.0), DISTINCT)
    assert len(problems) == 2
    assert problems[1].startswith("100% of the words written for validation images are <UNK>: ")


def test_they_are_not_told_where_people_use_them_as_often() -> None:
    assert told(speaker(20, UNK=1.0), [["unheard", f"of{k}", "a"] for k in range(12)]) == []


def test_captions_that_differ_are_good() -> None:
    model = speaker(20)
    for name in ("W_proj", "Wh", "W_vocab"):
        model.params[name][:] = np.random.default_rng(1).standard_normal(model.params[name].shape) * 9
    model.params["b_vocab"][[VOCAB.null, VOCAB.start, VOCAB.unk]] = -1e6
    assert told(model, DISTINCT) == []


def test_no_more_images_are_looked_at_than_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, start = [], CaptioningRNN.start

    def counted(model: CaptioningRNN, features: np.ndarray) -> Any:
        counts.append(len(features))
        return start(model, features)

    monkeypatch.setattr(CaptioningRNN, "start", counted)
    told(speaker(408, cat=1.0), [["a"]] * 400)
    assert counts == [IMAGES]


def test_a_warning_is_an_event_a_line_and_stands_in_the_history(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(validation, "symptoms", lambda *_: iter(["all is alike"]))
    events = list(train(parse("", "", [*small, "train.epochs=4"]), tmp_path / "run"))
    warned = [event for event in events if isinstance(event, Warned)]
    assert warned == [Warned(12, "all is alike"), Warned(16, "all is alike")]
    history = (tmp_path / "run" / "history.jsonl").read_text()
    assert history.count('{"kind": "warning", "step": 16, "epoch": 4, "problem": "all is alike"}') == 1
    progress.show(iter(events))
    assert capsys.readouterr().err.count("warning: all is alike\n") == 2


def test_looking_changes_nothing(small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[[Path], Any] = lambda folder: list(train(parse("", "", [*small, "train.epochs=4"]), folder))  # noqa: E731
    run(tmp_path / "looking")
    monkeypatch.setattr(validation, "symptoms", lambda *_: iter(()))
    run(tmp_path / "not")
    assert (tmp_path / "looking" / "last.h5").read_bytes() == (tmp_path / "not" / "last.h5").read_bytes()
