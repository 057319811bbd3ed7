"""A model file contains what captioning needs, in half the precision, its terms, and nothing of the machine."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import images, random_run

import captioner
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import NOT_SHARED, open_run
from captioner.captioning.training_summary import fit_summary
from captioner.config.options import Config
from captioner.config.overrides import read_overrides
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes import ENCODER
from captioner.data.vocabulary import Vocab
from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.files import checkpoint
from captioner.model.build import DECODERS
from captioner.model.parameters import ATTENTIONS
from captioner.share import prepare_to_share, write_model
from captioner.training.resume import resume
from captioner.training.run_folder import records

TERMS = "Photographs of birds: for research and education only"
BIRDS = f"birds.h5 (license: other; terms: {TERMS})"


def exported(
    run: Path, file: Path, overrides: tuple[str, ...] = (), overwrite: bool = False, **stated: str
) -> tuple[Path, list[str]]:
    model, notes = prepare_to_share(open_run(run, read_overrides(overrides)), **stated)
    write_model(model, file, overwrite)
    return file, notes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_parameters_are_float16_and_loaded_in_the_dtype_of_the_model(
    dtype: str, small: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = {"model.dtype": dtype, "data.standardize": True, "train.ema_decay": 0.5, "train.max_steps": 3}
    captioner.train(None, tmp_path / "run", {**read_overrides(small), **overrides})
    file, _ = exported(tmp_path / "run", tmp_path / "birds.h5")
    saved = checkpoint.load(file)
    assert saved.slots == {}
    assert {w.dtype for w in saved.params.values()} == {np.dtype(np.float16)}
    before, after = open_run(tmp_path / "run"), open_run(file)
    assert {w.dtype for w in after.model.params.values()} == {np.dtype(dtype)}
    for name, w in before.model.params.items():  # with the moving average
        assert np.array_equal(after.model.params[name], w.astype(np.float16).astype(dtype))
    assert before.model.standardizer is not None
    assert after.model.standardizer is not None
    assert np.array_equal(after.model.standardizer.mean, before.model.standardizer.mean)
    assert (after.vocab, after.meta.encoder) == (before.vocab, before.meta.encoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_captions_equal_those_of_the_run(decoder: str, attention: str, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", decoder, "init", attention, ["decode.max_length=6"])
    before, after = captioner.load(run), captioner.load(exported(run, tmp_path / "birds.h5")[0])
    features, regions = images(attention != "none")
    regions = None if regions is None else regions.reshape(len(regions), 2, 2, -1)
    captions, others = (model.caption(features=features, regions=regions) for model in (before, after))
    assert len({caption.text for caption in captions}) > 2
    assert [caption.text for caption in captions] == [caption.text for caption in others]
    np.testing.assert_allclose([c.log_prob for c in captions], [c.log_prob for c in others], rtol=0.01)


def test_the_file_contains_no_path_and_no_number_of_threads_of_the_machine(photo_run: Path, tmp_path: Path) -> None:
    assert str(photo_run.parent) in (photo_run / "config.yaml").read_text()
    file, _ = exported(photo_run, tmp_path / "birds.h5", ("threads=1",))
    assert str(photo_run.parent).encode() not in file.read_bytes()
    config = open_run(file).config
    assert config.data.root is not None
    assert config.data.root.name == NOT_SHARED.name
    assert config.threads == Config.threads != 1


def test_the_training_summary_and_the_options_that_need_it_are_kept(familiar_run: Path, tmp_path: Path) -> None:
    overrides = ("decode.beam_width=60", "decode.similarity_weight=5", "decode.guidance_weight=2")
    file, notes = exported(familiar_run, tmp_path / "birds.h5", overrides)
    before, after = checkpoint.load(familiar_run / "best.h5").summary, checkpoint.load(file).summary
    assert notes == []
    assert after.keys() == before.keys() >= {"components", "projection"}
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    decode = open_run(file).config.decode
    assert (decode.similarity_weight, decode.guidance_weight, decode.beam_width) == (5, 2, 60)


@pytest.fixture
def of_another_machine(familiar_run: Path, tmp_path: Path) -> Path:
    """The data set of a run with features that differ in rounding."""
    corpus = prepared(familiar_run.parent / "data.h5")
    splits = {name: dataclasses.replace(split, features=1.001 * split.features[:], digests={})
              for name, split in corpus.splits.items()}  # fmt: skip
    write_prepared(tmp_path / "other.h5", dataclasses.replace(corpus, splits=splits), {})
    return tmp_path / "other.h5"


def test_the_summary_is_fitted_on_a_data_set_with_the_training_captions(
    of_another_machine: Path, familiar_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """A file without one can have it and the options that need it."""
    run, output = Path(shutil.copytree(familiar_run, tmp_path / "run")), tmp_path / "birds.h5"
    saved = checkpoint.load(run / "best.h5")
    checkpoint.save(run / "best.h5", dataclasses.replace(saved, summary={}))
    words = ("export", run, "--data", of_another_machine, "--output", output, "-o", "decode.uncertain_below=0.2")
    cli(*words).succeeded()
    corpus, exported = prepared(of_another_machine), checkpoint.load(output)
    expected = fit_summary(corpus.split("train"), corpus.vocab)
    assert exported.summary.keys() == expected.keys()
    assert all(np.array_equal(exported.summary[name], array) for name, array in expected.items())
    assert exported.meta.train_digest == corpus.train_digest != saved.meta.train_digest
    assert open_run(output).config.decode.uncertain_below == 0.2


def test_the_data_set_of_a_summary_must_be_that_of_the_model(
    of_another_machine: Path, familiar_run: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    corpus, output = prepared(of_another_machine), tmp_path / "birds.h5"
    train = corpus.split("train")

    def refuse(code: int, message: str, **changes: Any) -> None:
        data = tmp_path / "changed.h5"
        write_prepared(data, dataclasses.replace(corpus, **changes), {})
        cli("export", familiar_run, "--output", output, "--data", data).failed(code, message)

    for array in ("captions", "image_idxs"):
        other = dataclasses.replace(train, **{array: getattr(train, array)[::-1].copy()})
        message = f"expected the training captions of {familiar_run / 'best.h5'}, got others; use the data set that"
        refuse(2, message, splits={**corpus.splits, "train": other})
    *others, one, two = corpus.vocab.words
    refuse(2, message, vocab=Vocab([*others, two, one]))
    refuse(1, "features: expected encoder everyday,sha256=", encoder=ENCODER)
    assert not output.exists()


def test_a_parameter_that_is_too_large_for_float16_is_refused(own_run: Path, tmp_path: Path) -> None:
    saved = checkpoint.load(own_run / "best.h5")
    saved.params["b"][0] = 1e6
    checkpoint.save(own_run / "best.h5", saved)
    with pytest.raises(CheckpointError, match=r"array params/b: a parameter is too large for float16$"):
        exported(own_run, tmp_path / "birds.h5")
    assert not (tmp_path / "birds.h5").exists()


def test_only_a_model_is_replaced(tiny_run: Path, photo_run: Path, tmp_path: Path) -> None:
    file, _ = exported(tiny_run, tmp_path / "birds.h5")
    with pytest.raises(UsageError, match="exists already"):
        exported(tiny_run, file)
    exported(tiny_run, file, overwrite=True, license="mit")
    assert checkpoint.load(file).meta.card.license == "mit"
    data = Path(shutil.copy(photo_run.parent / "data.h5", tmp_path / "data.h5"))
    with pytest.raises(UsageError, match=r"data\.h5: expected a model from captioner to replace, got something else"):
        exported(tiny_run, data, overwrite=True)


def test_the_files_of_a_run_are_not_replaced(own_run: Path) -> None:
    for name in ("best.h5", "last.h5"):
        with pytest.raises(UsageError, match=rf"{name}: is the name of a file of a run; use another file"):
            exported(own_run, own_run / name, overwrite=True)


def test_a_model_file_cannot_be_resumed(own_run: Path, tmp_path: Path) -> None:
    file, _ = exported(own_run, tmp_path / "birds.h5")
    with pytest.raises(CaptionerError):
        captioner.resume(file)
    shutil.copy(file, own_run / "last.h5")
    with pytest.raises(CheckpointError, match="slots: expected m, v, got none"):
        captioner.resume(own_run)


@pytest.fixture
def restricted(tiny_run: Path, tmp_path: Path) -> Path:
    """A model file with a license and terms."""
    return exported(tiny_run, tmp_path / "birds.h5", license="other", terms=TERMS)[0]


def test_license_and_terms_follow_the_parameters_on_every_way(
    restricted: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    """Fine-tuned, resumed, copied out of the run, fine-tuned again, exported under a license, fine-tuned again."""
    step = {**read_overrides(small), "train.max_steps": 1}
    captioner.train(None, tmp_path / "tuned", {**step, "train.init_from": restricted})
    captioner.resume(tmp_path / "tuned", {"train.max_steps": 2})
    copy = Path(shutil.copyfile(tmp_path / "tuned" / "last.h5", tmp_path / "copy.h5"))
    captioner.train(None, tmp_path / "again", {**step, "train.init_from": copy})
    file, notes = exported(tmp_path / "again", tmp_path / "cats.h5", license="mit", terms=" two\nlines ")
    card = checkpoint.load(file).meta.card
    assert (card.license, card.terms, card.made_from) == ("mit", "two lines", BIRDS)
    assert notes == [
        f"made from {BIRDS}: their licenses and terms apply too, and the card lists them; check that the license of "
        "this model, mit, permits no more than they do"
    ]
    captioner.train(None, tmp_path / "last", {**step, "train.init_from": file})
    card = checkpoint.load(tmp_path / "last" / "last.h5").meta.card
    assert (card.license, card.terms, card.made_from) == ("", "", f"cats.h5 (license: mit; terms: two lines); {BIRDS}")


def test_a_run_that_starts_from_one_that_learned_captions_states_their_terms(
    small: tuple[str, ...], tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = {**read_overrides(small), "train.max_steps": 1}
    captioner.train(None, "one", step)
    cli("sample", "one", "--split", "train", "--write", "teacher.jsonl", "-o", "decode.min_length=1")
    captioner.train(None, "student", {**step, "data.captions": Path("teacher.jsonl")})
    captioner.train(None, "tuned", {**step, "train.init_from": Path("student")})
    message = "tuned/best.h5: made from captions of teacher.jsonl; state the terms of the model that wrote them"
    cli("export", "tuned", "--output", "tuned.h5").failed(2, message)
    cli("export", "tuned", "--output", "tuned.h5", "--terms", TERMS)
    captioner.train(None, "last", {**step, "train.init_from": Path("tuned.h5")})
    assert cli("export", "last", "--output", "again.h5").code == 0
    origin = "tuned.h5 (license: unknown; terms: Photographs of birds: for research and education only)"
    assert open_run(Path("again.h5")).card.made_from == f"{origin}; captions of teacher.jsonl"


def test_a_model_file_that_is_exported_again_keeps_its_card(restricted: Path, tmp_path: Path) -> None:
    same, _ = exported(restricted, tmp_path / "same.h5")
    first, second = map(checkpoint.load, (restricted, same))
    assert second.meta.card == first.meta.card
    assert all(np.array_equal(first.params[name], second.params[name]) for name in first.params)
    other, _ = exported(restricted, tmp_path / "other.h5", license="mit")
    assert checkpoint.load(other).meta.card.made_from == BIRDS


def test_scores_are_those_of_the_validation_of_the_checkpoint(small: tuple[str, ...], tmp_path: Path) -> None:
    """Also if the run is resumed; captions of other decoding options are not scored."""
    run = tmp_path / "run"
    captioner.train(None, run, {**read_overrides(small), "train.epochs": 1, "validate.score_every": 1})
    (validated,) = (record for record in records(run / "history.jsonl") if record["kind"] == "validation")
    measured = validated["scores"]

    def scores(file: Path, *overrides: str) -> dict[str, float]:
        return checkpoint.load(exported(file, tmp_path / "a.h5", overrides, overwrite=True)[0]).meta.card.scores

    assert scores(run) == measured
    assert scores(run, "decode.beam_width=4") == {}
    for overrides, expected in (({"train.epochs": 2}, measured), ({"decode.max_length": 3}, {})):
        next(resume(run, overrides))
        assert scores(run / "last.h5") == expected


def test_the_model_of_the_repository_states_its_terms() -> None:
    card = open_run(DEFAULT_MODEL).card
    assert (card.license, card.terms[-31:]) == ("other", "for research and education only")
    assert card.made_from == "", "a model that others were used for states them"
    assert card.terms in " ".join(DEFAULT_MODEL.with_name("LICENSE.txt").read_text().split())
