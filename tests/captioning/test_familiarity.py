"""Familiarity: percentiles among reference images, for all shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.arrays import Array, unit_rows
from captioner.captioning.training_summary import FEW, MAX_IMAGES, MIN_WIDTH, Familiarity, fit_familiarity, scales


def images(seed: int, count: int, width: int, rank: int = 12) -> tuple[Array, Array]:
    """Features with most of their energy in `rank` directions, and as many without any structure."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((2, count, rank)) @ rng.standard_normal((rank, width))
    return features[0] + 0.5 * rng.standard_normal((count, width)) + 1, features[1] + 20 * rng.standard_normal(
        (count, width)
    )


def fitted(features: Array) -> tuple[Array, Array, Familiarity]:
    mean, std, arrays = fit_familiarity(features)
    return mean, std, Familiarity(**arrays)


def residual(units: Array, components: Array) -> Array:
    outside = units - units @ components.T @ components
    return (np.abs(outside) ** 3).sum(axis=-1) ** (1 / 3)


SHAPES = {"seed": st.integers(0, 99), "count": st.integers(FEW, 240), "width": st.integers(MIN_WIDTH, 400)}


@given(**SHAPES)
def test_percentiles_order_images_by_their_residual(seed: int, count: int, width: int) -> None:
    familiar, unfamiliar = images(seed, count, width)
    mean, std, summary = fitted(familiar)
    np.testing.assert_allclose(summary.components @ summary.components.T, np.eye(len(summary.components)), atol=1e-4)
    references = np.linspace(0, count - 1, count // 10).astype(int)
    expected = [100 * np.mean(summary.residuals >= residual) for residual in summary.residuals]  # some may be equal
    np.testing.assert_allclose(
        np.sort(summary.percentile(unit_rows(familiar[references], mean, std))), np.sort(expected)
    )
    assert (summary.percentile(unit_rows(unfamiliar, mean, std)) == 0).all()
    assert (summary.percentile(summary.components) == 100).all()


@given(**SHAPES)
def test_of_images_with_equal_energy_outside_those_with_few_large_features_are_unfamiliar(
    seed: int, count: int, width: int
) -> None:
    """As those of blank pictures, which differ from photographs in few features."""
    summary = fitted(images(seed, count, width)[0])[2]
    outside = np.random.default_rng(seed).standard_normal((2, 50, width))
    outside[1] *= np.arange(width) < width // 20
    outside -= outside @ summary.components.T @ summary.components
    outside /= np.linalg.norm(outside, axis=2, keepdims=True)
    u = np.sqrt(0.5) * (outside + summary.components[np.arange(50) % len(summary.components)])
    summary = summary._replace(residuals=np.linspace(0, 1, 1001, dtype=np.float32))
    even, uneven = map(summary.percentile, u)
    assert (even > uneven).all()


@given(**SHAPES, power=st.sampled_from([0, 1, 3]), shift=st.sampled_from([0.0, -3.0]))
def test_scales_and_origin_of_the_features_have_no_effect(
    seed: int, count: int, width: int, power: int, shift: float
) -> None:
    train, others = images(seed, count, width)[0], images(seed, 60, width)[0]
    scale = np.linspace(0.1, 10, width) ** power

    def percentiles(train: Array, others: Array) -> Array:
        mean, std, summary = fitted(train)
        return summary.percentile(unit_rows(others, mean, std))

    difference = percentiles(scale * (train + shift), scale * (others + shift)) - percentiles(train, others)
    assert np.abs(difference).max() <= 100 / (count // 10)  # rounding moves an image by one reference at most


@given(**SHAPES)
def test_the_components_keep_as_much_energy_as_exact_ones(seed: int, count: int, width: int) -> None:
    train = images(seed, count, width, rank=100)[0]
    mean, std, summary = fitted(train)
    units = unit_rows(np.delete(train, np.linspace(0, count - 1, count // 10).astype(int), axis=0), mean, std)
    best = np.square(np.linalg.svd(units, compute_uv=False)[: len(summary.components)]).sum()
    assert np.square(units @ summary.components.T).sum() > 0.99 * best


@given(seed=SHAPES["seed"], count=st.integers(2, 30), width=SHAPES["width"])
def test_each_of_few_images_is_compared_with_the_others(seed: int, count: int, width: int) -> None:
    train, expected = images(seed, count, width)[0], []
    for image in range(count):
        others = np.delete(train, image, axis=0)
        mean, std = others.mean(axis=0), others.std(axis=0) if count > 2 else np.ones(width)
        units = [row / (np.linalg.norm(row) or 1) for row in (np.array([*others, train[image]]) - mean) / std]
        components = np.linalg.svd(np.array(units[:-1]), full_matrices=False)[2][: count - 2]
        expected.append(residual(units[-1], components))
    _, _, summary = fitted(train)
    np.testing.assert_allclose(summary.residuals, np.sort(expected), atol=1e-3)
    assert len(summary.components) == count - 1


def test_a_single_image_and_short_features_have_no_familiarity() -> None:
    assert fit_familiarity(np.ones((1, MIN_WIDTH)))[2] == fit_familiarity(np.ones((FEW, MIN_WIDTH - 1)))[2] == {}
    assert [len(fitted(images(0, count, MIN_WIDTH)[0])[2].residuals) for count in (FEW - 1, FEW)] == [FEW - 1, 10]
    _, _, same = fitted(np.ones((FEW, MIN_WIDTH)))
    assert same.percentile(np.array([np.zeros(MIN_WIDTH), np.ones(MIN_WIDTH)])).tolist() == [100, 0], "residuals of 0"


def test_scales_are_above_0_in_float32() -> None:
    """Also of the smallest float32 numbers, whose deviation is smaller."""
    mean, std = scales(np.eye(5, 3, dtype=np.float32) * np.float32(1e-45))
    assert (mean.dtype, std.dtype) == (np.float32, np.float32)
    assert (std > 0).all()


def test_of_many_images_an_even_sample_is_used() -> None:
    features = np.repeat(images(0, 500, MIN_WIDTH)[0].astype(np.float16), 20, axis=0)
    sampled = features[np.linspace(0, len(features) - 1, MAX_IMAGES).astype(int)]
    for array, expected in zip(fitted(features)[2], fitted(sampled)[2], strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("own", [1, 2, 30, 500])
def test_own_images_become_familiar_and_others_do_not(own: int) -> None:
    """Few by their components, many as reference images; copies of an image count once."""
    familiar, unfamiliar = images(0, 9000, MIN_WIDTH)
    mean, std, summary = fitted(familiar[:240])
    units, others = (unit_rows(part, mean, std) for part in (unfamiliar, familiar))
    extended = summary.extended(np.repeat(units[:own], 3, axis=0))
    assert len(extended.components) == len(summary.components) + min(own, 32)
    assert len(extended.residuals) == len(summary.residuals) + min(own, len(summary.residuals))
    assert (np.diff(extended.residuals) >= 0).all()
    assert summary.percentile(units).max() == 0
    assert extended.percentile(units[:own]).min() >= (100 if own <= 30 else 0)
    assert extended.percentile(units[:own]).mean() > 20
    assert (extended.percentile(units[own:]) == 0).mean() > (0.9 if own <= 2 else 0), "others stay unfamiliar"
    if own <= 30:
        assert abs(extended.percentile(others).mean() - summary.percentile(others).mean()) < 25
