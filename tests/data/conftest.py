"""Fixtures of data sets."""

import pytest
from prepared_sets import ABOUT, WHOLE
from test_cs231n_source import cs231n_folder

from captioner.data.prepared import write_prepared

__all__ = ["cs231n_folder"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.h5"
    write_prepared(path, WHOLE, ABOUT)
    return path.read_bytes()
