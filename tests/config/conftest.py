"""A fixture that reads configs with each YAML parser."""

import pytest
from config_texts import LOADERS

from captioner.config import yaml_io


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both YAML parsers, one after the other."""
    monkeypatch.setattr(yaml_io, "LOADER", request.param)
