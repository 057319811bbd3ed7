"""The config photos with the default model and few photographs, whatever their captions: it never ends with none."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.captioning.captioner import Captioner
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Corpus, Split
from captioner.data.prepared import write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab, tokenize

CASES: dict[str, tuple[int, Sequence[str]]] = {
    "own words": (10, ["a dog named bello{0} runs", "the dog is brown", "一只 狗 在 草地 上 跑", "🐶 🏃 🌳"]),
    "one photograph": (1, ["my cat waldtraud", "she sleeps"]),
}


def write_data(file: Path, count: int, templates: Sequence[str]) -> None:
    """Write a data set of features that are as large as those of photographs; one of ten is for validation."""
    base, rng = open_run(DEFAULT_MODEL), np.random.default_rng(0)
    assert base.summary is not None
    parts = {"train": range(9), "val": range(9, 10)} if count == 10 else {"train": range(count)}
    texts = {name: [t.format(image) for image in images for t in templates] for name, images in parts.items()}
    vocab = Vocab(dict.fromkeys([*SPECIAL, *(word for text in texts["train"] for word in tokenize(text))]))
    splits = {}
    for name, images in parts.items():
        captions = vocab.encode([tokenize(text) for text in texts[name]])
        rows = np.repeat(np.arange(len(images), dtype=np.int32), len(templates))
        features = base.summary.mean + base.summary.std * rng.standard_normal((len(images), base.meta.feature_dim))
        splits[name] = Split(captions, rows, features.astype("f"), [*map(str, images)], texts=texts[name])
    write_prepared(file, Corpus(vocab, splits, base.meta.encoder), {})


@pytest.mark.parametrize("count", [1, 2])
def test_without_validation_photographs_the_message_says_what_to_try(
    count: int, cli: Callable[..., Any], tmp_path: Path
) -> None:
    write_data(tmp_path / "own.h5", count, ["my cat waldtraud"])
    failed = cli("train", "-c", "photos", "--data", tmp_path / "own.h5")
    failed.failed(1, "validate.split: expected a split of this data set (train), got val; try -o ")
    assert ("--val 0.1" in failed.err) == (count == 2)


@pytest.mark.parametrize("name", CASES)
def test_training_ends_with_captions(name: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(Path("own.h5"), *CASES[name])
    words = "train", "-c", "photos", "--data", "own.h5", "-otrain.epochs=2", "-othreads=1"
    done = cli(*words, *([] if CASES[name][0] == 10 else ["-ovalidate.split=train"]))
    assert done.code == 0, done.err
    assert "; one photograph cannot decide" in done.err
    run = open_run(Path("runs/own"))
    features = np.concatenate([split.features[:] for split in open_corpus(run).splits.values()])
    captions = Captioner(run).caption(features=features)
    assert all(caption.text and caption.familiarity is not None for caption in captions)
    own = [run.vocab.word_to_idx[word] for text in CASES[name][1] for word in tokenize(text.format(0))]
    assert run.summary is not None
    assert (run.summary.regression.idf[own] > 0).all()
