"""onnxruntime sends nothing and writes nothing when it encodes photographs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

ENCODE = """
from PIL import Image
from captioner.images import open_encoder
encoder = open_encoder("efficientnet-lite0")
assert encoder.encode([encoder.prepare(Image.new("RGB", (300, 300)))]).shape == (1, 1280)
"""
SUPPRESSED = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")
"""Variables for which onnxruntime itself has no telemetry."""


def files_after(home: Path, **variables: str) -> list[Path]:
    """The files that a process writes to a new home folder when it encodes an image."""
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in SUPPRESSED}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **variables}
    subprocess.run([sys.executable, "-c", ENCODE], env=environment, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


def test_encoding_writes_nothing_to_the_home_folder(tmp_path: Path) -> None:
    assert files_after(tmp_path / "home") == []
