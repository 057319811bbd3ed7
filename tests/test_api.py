"""The Python API: what the commands do, as functions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.config.options import Config, Prepare
from captioner.config.overrides import read_overrides
from captioner.errors import CheckpointError, ConfigError, DataError, UsageError
from captioner.photos.photo import read_photo
from captioner.photos.prepare import prepare


@pytest.fixture(scope="module")
def photographs(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of captions, with its photographs in the same folder."""
    return album(tmp_path_factory.mktemp("api"), 12)


@pytest.fixture(scope="module")
def model(photographs: Path, small: tuple[str, ...]) -> captioner.Captioner:
    """A Captioner of a run on photographs."""
    data = photographs.parent / "set.h5"
    list(prepare([str(photographs)], data, Prepare(encoder="scenes", min_count=1, val=0.25)))
    of_data = {"data.source": "prepared", "data.root": data, "train.max_steps": 3}
    overrides = {**read_overrides(small[-2:]), **of_data}
    return captioner.train(None, photographs.parent / "run", overrides)


def photos(table: Path, count: int) -> list[str]:
    return [str(path) for path in sorted(table.parent.glob("*.png"))[:count]]


def test_every_public_name_exists() -> None:
    for name in captioner.__all__:
        assert getattr(captioner, name).__name__ == name
        assert name in dir(captioner)
    with pytest.raises(AttributeError, match="no attribute 'describe'"):
        captioner.describe  # noqa: B018


def test_a_photograph_gives_one_caption_and_a_list_several_with_n_best(
    model: captioner.Captioner, photographs: Path
) -> None:
    paths = photos(photographs, 3)
    caption = model.caption(paths[0])
    assert isinstance(caption, captioner.Caption)
    assert (caption.image, caption.references, caption.correct) == (paths[0], [], None)
    assert caption.candidates == [(caption.text, caption.log_prob)]
    assert model.caption(Path(paths[0])) == caption
    captions = model.caption(paths, n_best=2)
    assert [caption.image for caption in captions] == paths
    for caption in captions:
        first, second = caption.candidates
        assert first == (caption.text, caption.log_prob)
        assert first.log_prob >= second.log_prob
    assert model.caption([]) == []


def test_a_folder_gives_the_captions_of_its_photographs(
    model: captioner.Captioner, photographs: Path, cli: Callable[..., Any]
) -> None:
    folder = photographs.parent
    captions = model.caption(folder)
    lines = cli("caption", folder, "--model", folder / "run", "--json").succeeded().out.splitlines()
    assert [(caption.image, caption.text) for caption in captions] == [
        (record["image"], record["caption"]) for record in map(json.loads, lines)
    ]
    assert len(captions) == 12
    assert model.caption([str(folder)]) == captions


def test_features_are_captioned_like_their_photographs(model: captioner.Captioner, photographs: Path) -> None:
    paths = photos(photographs, 2)
    features = np.stack([model.encoder.encode(model.encoder.prepare(read_photo(Path(path), 64)))[0] for path in paths])
    by_features = model.caption(features=features)
    assert [caption.image for caption in by_features] == ["0", "1"]
    assert [caption.text for caption in by_features] == [caption.text for caption in model.caption(paths)]
    (alone,) = model.caption(features=features[1])
    assert alone.text == by_features[1].text
    assert model.next_words(paths[0], "a", n=3) == model.next_words(words=["a"], n=3, features=features[0])
    with pytest.raises(DataError, match=r"nowhere\.png: "):
        model.next_words("nowhere.png")


ROWS = np.zeros((2, 3))
INVALID: dict[str, tuple[type[Exception], list[dict[str, Any]]]] = {
    "caption: expected photographs or features": (UsageError, [{}, {"images": "a.png", "features": ROWS}]),
    r"caption\.n_best: expected an integer >= 1 and <= 100, got 0$": (
        ConfigError, [{"images": "a.png", "n_best": 0}]),
    r"caption\.n_best: expected an integer >= 1 and <= 100, got 101$": (
        ConfigError, [{"images": "a.png", "n_best": 101}]),
    r"caption: features: expected floats \(images, feature\), got float64 \(1, 2, 3\)": (
        DataError, [{"features": ROWS[None]}]),
    r"caption: features: expected floats \(images, feature\), got int64 \(2, 3\)": (
        DataError, [{"features": ROWS.astype(int)}]),
    r"caption: features: expected \d+ numbers per image, got 3": (CheckpointError, [{"features": ROWS}]),
    r"caption: regions= has no effect on a model without attention; leave it out": (
        UsageError, [{"features": ROWS[0], "regions": np.zeros((2, 2, 3))}]),
    "caption: regions= needs features=": (UsageError, [{"images": "a.png", "regions": np.zeros((2, 2, 3))}]),
    r"nowhere\.png: ": (DataError, [{"images": "nowhere.png"}, {"images": ["nowhere.png"]}]),
}  # fmt: skip


@pytest.mark.parametrize("message", INVALID)
def test_invalid_arguments_of_caption(message: str, model: captioner.Captioner) -> None:
    error, calls = INVALID[message]
    for arguments in calls:
        with pytest.raises(error, match=f"^{message}"):
            model.caption(**arguments)


def test_invalid_arguments_of_functions(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"^evaluate: models: expected at least one run, got an empty list$"):
        captioner.evaluate([])
    with pytest.raises(UsageError, match=r"^load: runs: expected at least one run, got an empty list$"):
        captioner.load([])
    for call in captioner.load, captioner.evaluate:
        with pytest.raises(ConfigError, match=f"train.epochs has no effect on captioner.{call.__name__}; it uses "):
            call(tiny_run, overrides={"train.epochs": 2})
    with pytest.raises(UsageError, match=r"^evaluate: overrides need a run"):
        captioner.evaluate(captioner.load(tiny_run), overrides={"decode.beam_width": 2})


def test_a_model_of_scenes_warns_about_photographs(tiny_run: Path, photographs: Path) -> None:
    with pytest.warns(UserWarning, match="was trained on generated scenes"):
        captioner.load(tiny_run).caption(photos(photographs, 1))


def test_the_repr_names_checkpoint_cell_and_encoder(model: captioner.Captioner) -> None:
    path = model.loaded.path
    words = len(model.loaded.vocab) - 4
    assert repr(model) == f"Captioner('{path}': lstm, {words:,} words, encoder '{model.loaded.meta.encoder}')"


@pytest.mark.smoke
def test_resume_continues_the_run(model: captioner.Captioner, photographs: Path) -> None:
    run = model.loaded.path.parent
    longer = captioner.resume(run, {"train.max_steps": 4})
    assert longer.loaded.path.parent == run
    assert captioner.load(run / "last.h5").loaded.meta.step == 4


def test_a_config_object_and_a_file_train_the_same_run(tmp_path: Path, small: tuple[str, ...]) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("train:\n  max_steps: 2\n")
    captioner.train(file, tmp_path / "a", read_overrides(small))
    captioner.train(Config(), tmp_path / "b", {**read_overrides(small), "train.max_steps": 2})
    assert (tmp_path / "a" / "last.h5").read_bytes() == (tmp_path / "b" / "last.h5").read_bytes()


@pytest.mark.slow
@pytest.mark.smoke
def test_evaluate_returns_the_scores_of_the_command(tiny_run: Path, cli: Callable[..., Any]) -> None:
    scores = captioner.evaluate(tiny_run, split="val")
    assert scores == json.loads(cli("evaluate", tiny_run, "--json").out)
    assert captioner.evaluate(captioner.load(tiny_run)) == scores
    runs = [tiny_run, tiny_run / "last.h5"]
    printed = json.loads(cli("evaluate", *runs, "--json").out)
    assert captioner.evaluate(runs) == printed
    assert captioner.evaluate([captioner.load(run) for run in runs]) == printed
    assert list(printed["others"]) == ["run/last.h5"]
    both = captioner.evaluate(runs, ensemble=True)
    assert (both["name"], both["others"]) == ("ensemble of 2", {})


def test_a_missing_best_checkpoint_is_a_warning(own_run: Path) -> None:
    (own_run / "best.h5").unlink()
    for call in captioner.load, captioner.evaluate:
        with pytest.warns(UserWarning, match=r"run: no best\.h5; using last\.h5 \(step 8\)$"):
            call(own_run)
