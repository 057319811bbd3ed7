"""A session of the fault suite of small size."""

from pathlib import Path

import pytest

from faults.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, share=0.005)
