"""Fixtures of storage."""

import pytest
from checkpoints import WHOLE

from captioner.storage.checkpoint import save


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "last.h5"
    save(path, WHOLE)
    return path.read_bytes()
