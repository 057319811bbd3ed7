"""Training on the captions of a file (`data.captions`): their choice and encoding, resume, and distillation."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TrainRun, assert_same_arrays, history

from captioner.captioning.load import open_corpus, open_run
from captioner.config.options import Config
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus, captions_digest
from captioner.errors import ConfigError, DataError, UsageError
from captioner.training.learned_captions import learned_corpus, read_learned_captions
from captioner.training.overfit import overfit, overfit_config
from captioner.training.resume import resume

SHORT = ("train.batch_size=16", "train.max_steps=4")


NUMBERS = ("one", "two", "three", "four", "five")


def write(file: Path, images: Iterable[str], *captions: str) -> Path:
    """Write captions of images, each with a number that depends on its image instead of a #."""
    numbered = ((image, NUMBERS[n % len(NUMBERS)]) for n, image in enumerate(images))
    records = ({"image": image, "caption": text.replace("#", n)} for image, n in numbered for text in captions)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


@pytest.fixture
def data(tiny_run: Path) -> Corpus:
    return open_corpus(open_run(tiny_run))


@pytest.fixture
def images(data: Corpus) -> list[str]:
    return list(data.split("train").image_ids)


@pytest.fixture
def file(images: list[str], tmp_path: Path) -> Path:
    """Captions of the training images, in another order."""
    return write(tmp_path / "teacher.jsonl", images[::-1], "A red circle.", "a blue square", "a # triangle")


def test_the_first_captions_and_references_of_each_image_are_learned(
    small_config: Callable[..., Config], data: Corpus, images: list[str], tmp_path: Path
) -> None:
    file = write(
        tmp_path / "x.jsonl", images, "", "A Red Circle!", "a red  circle", " .", "a blue square", "a triangle"
    )
    options = f"data.captions={file}", "data.captions_per_image=2", "data.references=1"
    corpus, warnings = learned_corpus(small_config(*options), data)
    learned, references = corpus.split("train"), data.split("train")
    assert warnings == []
    assert learned.features is references.features
    assert {name: corpus.splits[name] for name in ("val", "test")} == {n: data.splits[n] for n in ("val", "test")}
    for image in range(40):
        first = references.captions[references.caption_rows(image)[0]].tolist()
        texts = [learned.text(row, data.vocab) for row in learned.caption_rows(image)]
        assert texts == ["a red circle", "a blue square", " ".join(data.vocab.decode(first))]
    assert learned_corpus(small_config(), data)[0] is data


def test_other_words_become_unk_and_are_counted(
    small_config: Callable[..., Config], data: Corpus, images: list[str], tmp_path: Path
) -> None:
    file = write(tmp_path / "x.jsonl", images, "a zebra", "an okapi")
    corpus, warnings = learned_corpus(small_config(f"data.captions={file}", "data.captions_per_image=1"), data)
    assert warnings == [f"{file}: 40 of 80 words are not in the vocabulary, and become <UNK>"]
    assert corpus.vocab == data.vocab
    assert corpus.split("train").text(0, data.vocab) == "a <UNK>"


def test_an_image_without_captions_is_an_error(
    small_config: Callable[..., Config], data: Corpus, images: list[str], tmp_path: Path
) -> None:
    file = write(tmp_path / "x.jsonl", images[3:], "a circle")
    config = small_config(f"data.captions={file}")
    with pytest.raises(DataError, match=r"captions of all 40 training images, 3 missing, such as 'train-00000'; add"):
        learned_corpus(config, data)
    write(file, [*images, "another-image"], "...")
    with pytest.raises(DataError, match="40 missing"):
        learned_corpus(config, data)
    write(file, images, "a " * 1001)
    with pytest.raises(DataError, match="expected captions of at most 1,000 words, got 1,001: a a"):
        learned_corpus(config, data)


def test_what_is_no_record_of_captions_is_named(tmp_path: Path) -> None:
    file, right = tmp_path / "x.jsonl", json.dumps({"image": "a", "caption": "b", "candidates": [{"caption": "c"}]})
    file.write_text(f"{right}\n\n{json.dumps({'image': 'a', 'caption': 'b'})}\n")
    assert read_learned_captions(file) == {"a": ["b", "c", "b"]}
    for wrong in (
        "image,caption", "[]", "{", "[" * 10**5, '{"image": "a"}', '{"image": 1, "caption": "b"}',
        '{"image": "a", "caption": null}', '{"image": "a", "candidates": {}}', '{"image": "a", "candidates": ["b"]}',
    ):  # fmt: skip
        file.write_text(f"{right}\n{wrong}\n")
        with pytest.raises(DataError, match=r"x\.jsonl:2: expected an object with image and caption or candidates, "):
            read_learned_captions(file)


def test_captions_of_images_of_other_splits_are_not_learned(
    small_config: Callable[..., Config], data: Corpus, images: list[str], tmp_path: Path
) -> None:
    """Their names may differ in folders alone."""
    val = dataclasses.replace(data.split("val"), image_ids=[f"x/{name}" for name in images[:10]])
    file = write(tmp_path / "x.jsonl", [*images[1:], *val.image_ids], "a circle")
    with pytest.raises(DataError, match=r"captions of all 40 training images, 1 missing, such as 'train-00000'; add"):
        learned_corpus(
            small_config(f"data.captions={file}"), dataclasses.replace(data, splits={**data.splits, "val": val})
        )


def test_only_training_uses_the_file(train_run: TrainRun, file: Path) -> None:
    options = (*SHORT, "decode.beam_width=3", "decode.similarity_weight=1")
    plain, run = train_run(*options), train_run(*options, f"data.captions={file}")
    losses, others = ([record["loss"] for record in history(folder, "step")] for folder in (run, plain))
    assert losses != others
    file.unlink()
    restored, other = open_run(run), open_run(plain)
    expected = other.meta
    corpus = open_corpus(restored)
    assert restored.meta.data_digest == expected.data_digest == corpus.digest
    assert all(np.array_equal(array, restored.saved.summary[name]) for name, array in other.saved.summary.items())
    assert (restored.meta.card.made_from, expected.card.made_from) == (f"captions of {file.name}", "")
    assert restored.meta.learned != expected.learned == captions_digest(corpus.split("train"))


@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(moved: bool, train_run: TrainRun, file: Path) -> None:
    options = (*SHORT, f"data.captions={file}", "data.references=1", "train.max_steps=8")
    whole, half = train_run(*options), train_run(*options, "train.max_steps=3")
    if moved:  # and written by another program
        lines = file.read_text().splitlines()
        file.unlink()
        file = file.with_name("moved.jsonl")
        file.write_text("\ufeff" + "\r\n".join([*lines, ""]))
    list(resume(half, {"data.captions": file, "train.max_steps": 8}))
    assert_same_arrays(half, whole)


def test_other_captions_cannot_be_resumed_with(train_run: TrainRun, file: Path, images: list[str]) -> None:
    run = train_run(*SHORT, f"data.captions={file}")
    write(file, images, "a red circle", "a blue square", "a green # triangle")
    for overrides in ([], ["data.captions=null"]):
        with pytest.raises(UsageError, match=r"the captions of data\.captions have changed since training began"):
            list(resume(run, read_overrides([*overrides, "train.max_steps=5"])))
    with pytest.raises(ConfigError, match=r"data\.captions_per_image: expected 3 as in "):
        list(resume(run, {"data.captions_per_image": 2}))


def test_overfitting_uses_the_references(small: Sequence[str], new_run: Path) -> None:
    text = "data: {captions: none.jsonl, references: 1}"
    values = read_overrides([*small, "train.max_steps=1"])
    (*_, ended) = overfit(overfit_config(parse(text, "file", values), 3, values), new_run)
    assert ended.summary["overfit"]["captions"] == 3


def test_the_captions_of_an_ensemble_are_learned_by_the_commands(
    tiny_run: Path, attention_run: Path, cli: Callable[..., Any], tmp_path: Path, small_options: tuple[str, ...]
) -> None:
    file, run = tmp_path / "teacher.jsonl", tmp_path / "student"
    beam = ("-o", "decode.beam_width=4", "-o", "decode.similarity_weight=6", "-o", "decode.min_length=1")
    command = ("sample", "--ensemble", tiny_run, tiny_run, "--split", "train", "--n-best", 4, *beam, "--write", file)
    assert cli(*command).code == 0
    student = ("-o", "model.decoder=gru", "-o", "train.epochs=1", "-o", f"data.captions={file}")
    done = cli("train", *small_options, *student, "--run", run)
    assert done.code == 0
    assert (
        f"note: loss and perplexity are those of the reference captions. The model is trained on the captions in {file}"
        in done.err
    )
    assert "scenes: train 40 images 120 captions, val 10 images 50 captions" in done.err
    assert cli("evaluate", run, "--json").code == 0
    file.unlink()
    fitted = ("--data", "scenes", "--terms", "none", "--output", tmp_path / "student.h5")
    assert cli("export", run, *fitted).code == 0, "on the references of the images"
    again = cli("train", "--resume", run)
    assert (again.code, again.err) == (
        1,
        f"captioner: {file}: not found; expected a file of captions; check the name\n",
    )
