"""A prepared data set."""

import pytest
from sealed_sets import ABOUT, WHOLE

from captioner.data.prepared import write_prepared


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.h5"
    write_prepared(path, WHOLE, ABOUT)
    return path.read_bytes()
