"""captioner doctor: its lines; what is missing has a remedy."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pytest

from captioner.cli import doctor
from captioner.cli.doctor import CORE, PURPOSES
from captioner.errors import LIBRARIES
from captioner.parallel.machine import describe_blas


def test_the_tables_have_every_core_package_and_extra() -> None:
    requirements = metadata.requires("captioner") or []
    assert {line.partition(">")[0] for line in requirements if "extra ==" not in line} == set(CORE)
    development = {"encoder", "eval", "bench", "test", "dev"}
    assert set(metadata.metadata("captioner").get_all("Provides-Extra") or ()) == {*PURPOSES, *development}
    assert set(LIBRARIES.values()) == PURPOSES.keys()


def test_one_aligned_line_per_part(cli: Callable[..., Any]) -> None:
    lines = cli("doctor").succeeded().out.splitlines()
    names = ["captioner", "python", *CORE, "blas", "cores", *(f"extra {extra}" for extra in PURPOSES)]
    width = max(map(len, names))
    assert [line[:width].strip() for line in lines] == names
    assert f"{'numpy':<{width}}  {np.__version__}" in lines
    assert f"{'blas':<{width}}  {describe_blas()}" in lines
    assert f"{'extra images':<{width}}  installed" in lines


def test_a_missing_extra_says_what_to_try(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", {**LIBRARIES, "no_such_module": "web"})
    (line,) = [line for line in cli("doctor").succeeded().out.splitlines() if line.startswith("extra web")]
    assert "not installed: no_such_module (serves a web page and an HTTP API (captioner serve)); try " in line
    assert line.endswith("; try pip install 'starlette>=0.40' 'uvicorn>=0.30' 'h11>=0.14' 'jinja2>=3.1.4'")
