"""Familiarity: percentiles among reference images, for all shapes; stored in checkpoints, ensembles and packages."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.arrays import Array
from captioner.captioning.checks import check_overrides
from captioner.captioning.familiarity import MAX_IMAGES, MIN_IMAGES, MIN_WIDTH, Familiarity, fit_familiarity
from captioner.captioning.load import ensemble_of, open_run
from captioner.data.prepared import prepared
from captioner.errors import ConfigError
from captioner.files import checkpoint
from captioner.training.resume import resume


def images(seed: int, count: int, width: int, rank: int = 12) -> tuple[Array, Array]:
    """Features with most of their energy in `rank` directions, and as many without any structure."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((2, count, rank)) @ rng.standard_normal((rank, width))
    return features[0] + 0.5 * rng.standard_normal((count, width)) + 1, features[1] + 20 * rng.standard_normal(
        (count, width)
    )


SHAPES = {"seed": st.integers(0, 99), "count": st.integers(MIN_IMAGES, 240), "width": st.integers(MIN_WIDTH, 400)}


@settings(deadline=None, max_examples=20)
@given(**SHAPES)
def test_percentiles_order_images_by_their_residual(seed: int, count: int, width: int) -> None:
    familiar, unfamiliar = images(seed, count, width)
    summary = Familiarity(**fit_familiarity(familiar))
    np.testing.assert_allclose(summary.components @ summary.components.T, np.eye(len(summary.components)), atol=1e-4)
    references = np.linspace(0, count - 1, count // 10).astype(int)
    expected = [100 * np.mean(summary.residuals >= residual) for residual in summary.residuals]  # some may be equal
    np.testing.assert_allclose(np.sort(summary.percentile(familiar[references])), np.sort(expected))
    assert (summary.percentile(unfamiliar) == 0).all()
    assert (summary.percentile(summary.components * summary.std + summary.mean) == 100).all()


@settings(deadline=None, max_examples=10)
@given(**SHAPES)
def test_of_images_with_equal_energy_outside_those_with_few_large_features_are_unfamiliar(
    seed: int, count: int, width: int
) -> None:
    """As those of blank pictures, which differ from photographs in few features."""
    summary = Familiarity(**fit_familiarity(images(seed, count, width)[0]))
    outside = np.random.default_rng(seed).standard_normal((2, 50, width))
    outside[1] *= np.arange(width) < width // 20
    outside -= outside @ summary.components.T @ summary.components
    outside /= np.linalg.norm(outside, axis=2, keepdims=True)
    u = np.sqrt(0.5) * (outside + summary.components[np.arange(50) % len(summary.components)])
    summary = summary._replace(residuals=np.linspace(0, 1, 1001, dtype=np.float32))
    even, uneven = (summary.percentile(each * summary.std + summary.mean) for each in u)
    assert (even > uneven).all()


@settings(deadline=None, max_examples=10)
@given(**SHAPES, power=st.sampled_from([0, 1, 3]), shift=st.sampled_from([0.0, -3.0]))
def test_scales_and_origin_of_the_features_have_no_effect(
    seed: int, count: int, width: int, power: int, shift: float
) -> None:
    train, others = images(seed, count, width)[0], images(seed, 60, width)[0]
    scale = np.linspace(0.1, 10, width) ** power
    expected = Familiarity(**fit_familiarity(train)).percentile(others)
    other = Familiarity(**fit_familiarity(scale * (train + shift))).percentile(scale * (others + shift))
    assert np.abs(other - expected).max() <= 100 / (count // 10)  # rounding moves an image by one reference at most


@settings(deadline=None, max_examples=5)
@given(**SHAPES)
def test_the_components_keep_as_much_energy_as_exact_ones(seed: int, count: int, width: int) -> None:
    train = images(seed, count, width, rank=100)[0]
    summary = Familiarity(**fit_familiarity(train))
    held_out = np.linspace(0, count - 1, count // 10).astype(int)
    rows = (np.delete(train, held_out, axis=0) - summary.mean) / summary.std
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best = np.square(np.linalg.svd(units, compute_uv=False)[: len(summary.components)]).sum()
    assert np.square(units @ summary.components.T).sum() > 0.99 * best


def test_few_images_or_short_features_have_no_summary() -> None:
    assert (
        fit_familiarity(np.ones((MIN_IMAGES - 1, MIN_WIDTH)))
        == fit_familiarity(np.ones((MIN_IMAGES, MIN_WIDTH - 1)))
        == {}
    )
    same = Familiarity(**fit_familiarity(np.ones((MIN_IMAGES, MIN_WIDTH))))
    assert same.percentile(np.array([np.ones(MIN_WIDTH), np.arange(MIN_WIDTH)])).tolist() == [100, 0], "residuals of 0"


def test_of_many_images_an_even_sample_is_used() -> None:
    features = np.repeat(images(0, 500, MIN_WIDTH)[0].astype(np.float16), 20, axis=0)
    sampled = features[np.linspace(0, len(features) - 1, MAX_IMAGES).astype(int)]
    expected = fit_familiarity(sampled)
    for name, array in fit_familiarity(features).items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_run_stores_the_summary_of_its_training_images(familiar_run: Path) -> None:
    expected = fit_familiarity(prepared(familiar_run.parent / "data.h5").split("train").features)
    for name in ("best.h5", "last.h5"):
        saved = checkpoint.load(familiar_run / name).familiarity
        assert saved.keys() == expected.keys()
        assert all(np.array_equal(saved[key], expected[key]) for key in expected)
    assert sum(array.nbytes for array in expected.values()) < 1_500_000


def test_a_resumed_run_keeps_the_summary(familiar_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed again, it may differ by rounding, and costs seconds."""
    run = tmp_path / "run"
    shutil.copytree(familiar_run, run)
    monkeypatch.setattr("captioner.training.training.fit_familiarity", lambda _: pytest.fail("computed again"))
    for _ in resume(run, {"train.max_steps": checkpoint.load(run / "last.h5").meta.step + 1}):
        pass
    expected, resumed = (checkpoint.load(folder / "last.h5") for folder in (familiar_run, run))
    assert resumed.meta.step == expected.meta.step + 1
    assert all(np.array_equal(resumed.familiarity[name], array) for name, array in expected.familiarity.items())


def without_summary(run: Path, folder: Path) -> Path:
    """Save a checkpoint like one of a small data set."""
    folder.mkdir()
    checkpoint.save(folder / "best.h5", dataclasses.replace(checkpoint.load(run / "best.h5"), familiarity={}))
    assert b"familiarity" not in (folder / "best.h5").read_bytes().replace(b"unfamiliar", b"")
    return folder


def test_a_checkpoint_may_have_none(familiar_run: Path, tmp_path: Path) -> None:
    assert open_run(without_summary(familiar_run, tmp_path / "old")).familiarity is None


def test_an_ensemble_has_that_of_its_models_if_their_training_split_is_the_same(familiar_run: Path) -> None:
    model = open_run(familiar_run)
    other = dataclasses.replace(model, meta=dataclasses.replace(model.meta, train_digest="other"))
    assert ensemble_of([model, model]).familiarity is model.familiarity
    assert ensemble_of([model, other]).familiarity is None
    with pytest.raises(
        ConfigError, match=r"unfamiliar_below: has no effect: the models have different training splits"
    ):
        check_overrides(ensemble_of([model, other]), {"decode.unfamiliar_below": 1.0})
