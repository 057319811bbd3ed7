"""The errors of an import of tensor files."""

from pathlib import Path

import pytest

from captioner.errors import CaptionerError
from captioner.export.import_tensors import import_tensors


def error_of(path: Path) -> str:
    """Return the error of an import without the file name; it must be one short printable line."""
    with pytest.raises(CaptionerError) as caught:
        import_tensors(path, path.parent / "imported")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert not (path.parent / "imported").exists()
    return message.removeprefix(f"{path}: ")
