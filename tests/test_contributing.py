"""What CONTRIBUTING.md names exists: paths, tables and classes, options."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from captioner.captioning.saved_model import open_checkpoint
from captioner.config.option_table import OPTIONS, replaced
from captioner.data.scenes import scenes
from captioner.errors import DataError
from captioner.preparation.load_corpus import SOURCES, build_corpus

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"^```.*?^```$", "", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE | re.DOTALL)
PAGE = " ".join(TEXT.split())
NAMED = dict.fromkeys(re.findall(r"`([^`]+)`", PAGE))
PLACED = re.findall(r"`(\w+)` in `([^`]+)`", PAGE)
SETUP = (ROOT / "setup.cfg").read_text()


def places(path: str) -> list[Path]:
    """Return where a path may be: paths are relative to the package or to the repository."""
    return [place for place in (ROOT / "captioner" / path, ROOT / path) if place.exists()]


def defines(path: Path, name: str) -> bool:
    """Return whether a module, or a module of a folder, defines a name at its top level."""
    modules = path.rglob("*.py") if path.is_dir() else [path]
    definition = re.compile(rf"^(?:def|class) {name}\b|^{name}\b.*=", re.MULTILINE)
    return any(definition.search(module.read_text()) for module in modules)


KINDS: Mapping[str, Callable[[str], object]] = {
    r"[\w.-]+/[\w./-]*|[\w.]+\.(?:py|cfg|md)|\.\w+": places,
    r"[a-z]+\.\w+": OPTIONS.__contains__,
    r"\w+": lambda name: (
        re.search(rf"^{name} =$", SETUP, re.MULTILINE)
        or any(defines(ROOT / folder, name) for folder in ("captioner", "faults", "tests"))
    ),
    r"pytest tests/golden --update-golden -k NAME": lambda _: (
        "--update-golden" in (ROOT / "tests" / "conftest.py").read_text()
    ),
    r"make \w+|\(.*\) -> .*": lambda _: True,  # tests/test_documentation.py has the targets
}
"""How to check a text in backticks, by its form."""


@pytest.mark.parametrize("name", NAMED)
def test_a_text_in_backticks_exists(name: str) -> None:
    (exists, *_) = (check for form, check in KINDS.items() if re.fullmatch(form, name))
    assert exists(name), name


def test_a_table_is_in_the_file_that_is_named_with_it() -> None:
    assert len(PLACED) > 20
    for name, path in PLACED:
        assert any(defines(place, name) for place in places(path)), f"{name} in {path}"


def test_a_name_that_does_not_exist_is_found() -> None:
    assert not places("layers/third.py")
    assert not defines(ROOT / "captioner", "SECOND_BIAS_INSIDE")


def test_a_new_data_source_needs_one_row(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = scenes(None, train=9, val=1, test=1, heldout=1)
    monkeypatch.setitem(SOURCES, "toy", lambda *root, **options: small)
    model = open_checkpoint(tiny_run / "last.h5")
    config = replaced(model.config, {"data.source": "toy", "model.attention": "adaptive"})
    with pytest.raises(DataError, match=r"expected image regions, got none; .* use a model without attention"):
        build_corpus(config)
