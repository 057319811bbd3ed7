"""captioner prepare that was interrupted by a signal resumes with the photographs that it has encoded."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_photos import SCENES

from captioner.data.prepared import prepared
from captioner.data.scenes import example
from captioner.data.scenes.encoder import encode

pytestmark = pytest.mark.usefixtures("photos_here")

WAITING = """
import os, sys, time
from captioner.images.scenes_encoder import ScenesEncoder
encode = ScenesEncoder.encode

def waiting(self, batch):
    with open("encoded", "ab") as log:
        log.write(b".")
    while os.path.getsize("encoded") > 3 and not os.path.exists("go"):
        time.sleep(0.005)
    return encode(self, batch)

ScenesEncoder.encode = waiting
from captioner.cli import main
main(sys.argv[1:])
"""
COMMAND = ("prepare", "photos/captions.csv", "--output", "out.h5", *SCENES, "--dtype", "float32", "--threads", "1")
RECORD = 36 + 4 * encode(np.zeros((1, 64, 64, 3), np.uint8)).shape[1]


def records() -> int:
    part = Path("out.h5.part")
    return max(0, part.stat().st_size - 1) // RECORD if part.exists() else 0


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_an_interrupted_command_resumes(name: str, shell: Callable[..., Any]) -> None:
    number = getattr(signal, name)
    command = [sys.executable, "-c", WAITING, *COMMAND]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and records() < 3:
            time.sleep(0.005)
        process.send_signal(number)
        Path("go").touch()
        out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert out == ""
    if number == signal.SIGINT:
        assert re.search(r"^captioner: run the same command again to resume", err, re.MULTILINE)
        assert "Traceback" not in err
    assert not Path("out.h5").exists()
    kept = records()
    assert 3 <= kept < 8
    Path("encoded").unlink()
    done = shell(*COMMAND, code=WAITING)
    assert done.returncode == 0
    assert f"resumed: {kept} of 8 photographs are already encoded\n" in done.stderr
    assert Path("encoded").stat().st_size == 8 - kept
    assert sorted(os.listdir()) == ["encoded", "go", "out.h5", "photos"]
    corpus = prepared("out.h5")
    for split in corpus.splits.values():
        for row, image in enumerate(split.image_ids):
            picture = example(0, "train", int(image[:3])).picture
            np.testing.assert_allclose(split.features[row], encode(picture[None])[0], atol=1e-5)
