"""The grid of regions, from the shape of an array of them."""

import pytest

from captioner.data.region_grid import region_grid


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((5, 9, 77), (3, 3)), ((5, 49, 2), (7, 7)), ((5, 6, 2), (1, 6)), ((5, 1, 2), (1, 1)), ((5, 2, 3, 77), (2, 3))],
)
def test_the_grid_has_all_regions(shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    assert region_grid(shape) == grid
