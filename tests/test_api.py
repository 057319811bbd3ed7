"""The Python API: what the commands do, as functions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.config.options import Config
from captioner.errors import DataError, UsageError


@pytest.fixture(scope="module")
def photographs(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of captions, with its photographs in the same folder."""
    return album(tmp_path_factory.mktemp("api"), 12)


@pytest.fixture(scope="module")
def model(photographs: Path, small: tuple[str, ...]) -> captioner.Captioner:
    """A Captioner of a run on photographs, made by the API alone."""
    data = photographs.parent / "set.h5"
    summary = captioner.prepare(photographs, data, encoder="scenes", min_count=1, val=0.25)
    assert set(summary["splits"]) == {"train", "val"}
    overrides = (*small, "data.source=prepared", f"data.root={data}", "train.max_steps=3")
    return captioner.train(None, photographs.parent / "run", overrides)


def photos(table: Path, count: int) -> list[str]:
    return [str(path) for path in sorted(table.parent.glob("*.png"))[:count]]


def test_a_photograph_gives_one_caption(model: captioner.Captioner, photographs: Path) -> None:
    (photo,) = photos(photographs, 1)
    caption = model.caption(photo)
    assert isinstance(caption, captioner.Caption)
    assert (caption.image, caption.references, caption.true) == (photo, [], None)
    assert caption.candidates == [(caption.text, caption.log_prob)]
    assert model.caption(Path(photo)) == caption


def test_a_list_gives_a_list_with_n_best(model: captioner.Captioner, photographs: Path) -> None:
    several = photos(photographs, 3)
    captions = model.caption(several, n_best=2)
    assert [caption.image for caption in captions] == several
    for caption in captions:
        assert len(caption.candidates) == 2
        assert caption.candidates[0] == (caption.text, caption.log_prob)
        assert caption.candidates[0].log_prob >= caption.candidates[1].log_prob
    assert model.caption([]) == []


def test_features_are_captioned_like_their_photographs(model: captioner.Captioner, photographs: Path) -> None:
    several = photos(photographs, 2)
    from captioner.images.photo import read_photo

    features = model.encoder.encode(np.stack([read_photo(Path(photo), 64) for photo in several]))
    by_features = model.caption(features=features)
    assert [caption.image for caption in by_features] == ["0", "1"]
    assert [caption.text for caption in by_features] == [caption.text for caption in model.caption(several)]
    (alone,) = model.caption(features=features[1])
    assert alone.text == by_features[1].text


def test_a_student_is_distilled_from_a_run(photographs: Path, model: captioner.Captioner) -> None:
    teacher = photographs.parent / "run"
    first, again = photographs.parent / "first", photographs.parent / "again"
    captioner.distill(teacher, first, ["train.max_steps=2"], ["decode.beam_width=3"])
    student = captioner.distill([teacher], again, ["distill.captions_per_image=2", "train.max_steps=1"], captions=first)
    assert student.loaded.vocab == model.loaded.vocab
    assert student.loaded.config.decode.beam_width == 10


@pytest.mark.parametrize("arguments", [{}, {"images": "a.png", "features": np.zeros((1, 4))}])
def test_photographs_or_features(arguments: dict[str, object], model: captioner.Captioner) -> None:
    with pytest.raises(UsageError, match=r"^caption: expected photographs or features"):
        model.caption(**arguments)  # type: ignore[call-overload]


def test_a_missing_photograph_is_an_error(model: captioner.Captioner) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png: "):
        model.caption("nowhere.png")


def test_the_repr_names_checkpoint_cell_and_encoder(model: captioner.Captioner) -> None:
    path = model.loaded.path
    words = len(model.loaded.vocab) - 4
    assert repr(model) == f"Captioner('{path}': lstm, {words:,} words, encoder '{model.loaded.meta.encoder}')"


@pytest.mark.smoke
def test_resume_continues_the_run(model: captioner.Captioner, photographs: Path) -> None:
    run = model.loaded.path.parent
    longer = captioner.resume(run, ["train.max_steps=4"])
    assert longer.loaded.path.parent == run
    assert captioner.load(run / "last.h5").loaded.meta.step == 4


def test_a_config_object_and_a_file_train_the_same_run(tmp_path: Path, small: tuple[str, ...]) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("train:\n  max_steps: 2\n")
    captioner.train(file, tmp_path / "a", small)
    captioner.train(Config(), tmp_path / "b", (*small, "train.max_steps=2"))
    assert (tmp_path / "a" / "last.h5").read_bytes() == (tmp_path / "b" / "last.h5").read_bytes()


@pytest.mark.smoke
def test_evaluate_returns_the_scores_of_the_command(tiny_run: Path, cli: Callable[..., object]) -> None:
    import json

    scores = captioner.evaluate(tiny_run, split="val")
    printed = json.loads(cli("evaluate", tiny_run, "--json").out)  # type: ignore[attr-defined]
    assert {**scores, "split": "val"} == printed
    assert captioner.evaluate(captioner.load(tiny_run)) == scores


def test_evaluate_compares_like_the_command(tiny_run: Path, cli: Callable[..., object], tmp_path: Path) -> None:
    import json

    data = tmp_path / "captions.json"
    runs = [tiny_run, tiny_run / "last.h5"]
    words = ("evaluate", *runs, "--json", "--baseline", "nn")
    printed = json.loads(cli(*words).out)  # type: ignore[attr-defined]
    assert captioner.evaluate(runs, baseline="nn") == printed
    assert captioner.evaluate([captioner.load(run) for run in runs], baseline="nn") == printed
    assert list(printed["others"]) == ["run/last.h5", "nn"]
    both = captioner.evaluate(runs, ensemble=True)
    assert (both["name"], both["others"]) == ("ensemble of 2", {})
    cli("sample", tiny_run, "--coco", data)
    assert captioner.evaluate(tiny_run, against=data)["others"]["captions.json"]["bleu1"] == printed["bleu1"]
    with pytest.raises(UsageError, match=r"^evaluate: models: expected at least one run, got an empty list$"):
        captioner.evaluate([])


def test_evaluate_on_another_data_set(model: captioner.Captioner, tiny_run: Path, photographs: Path) -> None:
    data = photographs.parent / "set.h5"
    own = captioner.evaluate(model)
    assert captioner.evaluate(model, data=data) == own
    found = captioner.evaluate([model, tiny_run], data=data)
    assert {**found, "others": {}, "name": "run"} == own
    (other,) = found["others"].values()
    assert (other["perplexity"], other["novel"]) == (None, None)


def test_a_missing_best_checkpoint_is_a_warning(own_run: Path) -> None:
    (own_run / "best.h5").unlink()
    for call in captioner.load, captioner.evaluate:
        with pytest.warns(UserWarning, match=r"run: no best\.h5; using last\.h5 \(step 8\)$"):
            call(own_run)


def test_unknown_options_of_prepare(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^prepare: minimum: unknown option; expected one of caption_column, "):
        captioner.prepare(photographs, tmp_path / "x.h5", minimum=1)


def test_every_public_name_exists() -> None:
    for name in captioner.__all__:
        assert getattr(captioner, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'describe'"):
        captioner.describe  # noqa: B018


def test_overrides_of_a_captioner_are_an_error(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"^evaluate: overrides need a run"):
        captioner.evaluate(captioner.load(tiny_run), overrides=["decode.beam_width=2"])


@pytest.mark.parametrize("n_best", [0, -1, 101])
def test_n_best_is_bounded(n_best: int, model: captioner.Captioner) -> None:
    with pytest.raises(UsageError, match=rf"^caption: n_best: expected 1 to 100, got {n_best}$"):
        model.caption("a.png", n_best=n_best)
