"""Caption collapse: identical captions and frequent `<UNK>` emit warnings, unless the references have them too."""

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
from captioner.training.events import Warned
from captioner.training.train import train
from captioner.training.validation import COLLAPSE_IMAGES, Collapse, find_collapse, remedies

VOCAB = Vocab.build([["a", "cat", "dog", "bird"]])


def split(captions: Sequence[Sequence[str]]) -> Split:
    """One image per caption, with distinct features."""
    count = len(captions)
    return Split(
        captions=VOCAB.encode(captions),
        image_idxs=np.arange(count, dtype=np.int32),
        features=np.eye(count, 8 + count, dtype=np.float32),
        image_ids=[str(image) for image in range(count)],
    )


def constant_model(width: int, **scores: float) -> CaptioningRNN:
    """A model that repeats the word with the highest score, for any image."""
    sizes = Sizes(len(VOCAB), width, 4, 4, "rnn")
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    for array in params.values():
        array[...] = 0
    for word, score in scores.items():
        params["b_vocab"][VOCAB.word_to_idx.get(word, VOCAB.unk)] = score
    return CaptioningRNN(sizes, params, VOCAB.null)


def warnings(model: CaptioningRNN, captions: Sequence[Sequence[str]]) -> list[str]:
    config = parse("", "", ["decode.max_length=5"])
    return [found.problem for found in find_collapse(model, split(captions), VOCAB, config)]


DISTINCT = [[word] for word in ("a", "cat", "dog", "bird")] * 3


def test_identical_captions_are_reported() -> None:
    (warning,) = warnings(constant_model(20, cat=1.0), DISTINCT)
    assert warning.startswith("100% of 12 validation images get the same caption: ")


def test_identical_captions_are_not_reported_if_the_references_are_identical_too() -> None:
    assert warnings(constant_model(20, cat=1.0), [["cat"]] * 12) == []


def test_frequent_unk_is_reported() -> None:
    found = warnings(constant_model(20, UNK=1.0), DISTINCT)
    assert len(found) == 2
    assert found[1].startswith("100% of the words in captions of validation images are <UNK>: ")


def test_frequent_unk_is_not_reported_if_the_references_have_as_many() -> None:
    assert warnings(constant_model(20, UNK=1.0), [["unheard", f"of{k}", "a"] for k in range(12)]) == []


def test_varied_captions_give_no_warning() -> None:
    model = constant_model(20)
    for name in ("W_proj", "Wh", "W_vocab"):
        model.params[name][:] = np.random.default_rng(1).standard_normal(model.params[name].shape) * 9
    model.params["b_vocab"][[VOCAB.null, VOCAB.start, VOCAB.unk]] = -1e6
    assert warnings(model, DISTINCT) == []


def test_the_number_of_captioned_images_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, start = [], CaptioningRNN.start

    def counted(model: CaptioningRNN, features: np.ndarray, regions: None) -> Any:
        counts.append(len(features))
        return start(model, features, regions)

    monkeypatch.setattr(CaptioningRNN, "start", counted)
    warnings(constant_model(408, cat=1.0), [["a"]] * 400)
    assert counts == [COLLAPSE_IMAGES]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), ["a smaller train.learning_rate", "data.standardize true", "model.image_input every"]),
        (("data.standardize=true",), ["a smaller train.learning_rate", "model.image_input every"]),
        (
            ("data.standardize=true", "model.image_input=every", "data.source=prepared", "data.root=x.h5"),
            ["a smaller train.learning_rate", "features of another encoder"],
        ),
    ],
)
def test_the_advice_has_only_what_the_config_lacks(overrides: tuple[str, ...], expected: list[str]) -> None:
    assert remedies(parse("", "", overrides)) == expected


def test_a_kind_is_one_event_and_message_and_every_time_a_history_record(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Collapse("identical", "identical captions")]
    monkeypatch.setattr(validation, "find_collapse", lambda *_: iter(found))
    events = list(train(parse("", "", [*small, "train.epochs=4"]), tmp_path / "run"))
    warned = [event for event in events if isinstance(event, Warned)]
    assert warned == [Warned(12, "identical captions")]
    history = (tmp_path / "run" / "history.jsonl").read_text()
    for step, epoch in ((12, 3), (16, 4)):
        record = f'{{"kind": "warning", "step": {step}, "epoch": {epoch}, "problem": "identical captions"}}'
        assert history.count(record) == 1
    progress.show(iter(events))
    assert capsys.readouterr().err.count("warning: identical captions\n") == 1


def test_checking_for_collapse_does_not_change_training(
    small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Callable[[Path], Any] = lambda folder: list(train(parse("", "", [*small, "train.epochs=4"]), folder))  # noqa: E731
    run(tmp_path / "checked")
    monkeypatch.setattr(validation, "find_collapse", lambda *_: iter(()))
    run(tmp_path / "unchecked")
    assert (tmp_path / "checked" / "last.h5").read_bytes() == (tmp_path / "unchecked" / "last.h5").read_bytes()
