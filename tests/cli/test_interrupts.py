"""Ctrl-C ends a command at once, whatever its threads do and wherever the interrupt arrives."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.bombs import endless_model

IN_A_CALLBACK = """
import signal, time, weakref
import click
from captioner.cli import cli, main

@cli.command()
def wait():
    class Object:
        pass
    object = Object()
    reference = weakref.ref(object, lambda dead: signal.raise_signal(signal.SIGINT))
    del object
    time.sleep(60)

main()
"""


def test_an_interrupt_in_a_weakref_callback_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_CALLBACK, "wait"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "\ncaptioner: interrupted\n")


BUSY = """
import sys, time
from pathlib import Path
from captioner.images import onnx
from captioner.images.scenes_encoder import ScenesEncoder

def announced(call):
    def announce(*args):
        Path("busy").touch()
        return call(*args)
    return announce

onnx.call_with_deadline = announced(onnx.call_with_deadline)
ScenesEncoder.encode = announced(lambda *args: time.sleep(60))
from captioner.cli import main
main()
"""


@pytest.mark.parametrize("encoder", ["onnx:endless.onnx", "scenes"])
def test_ctrl_c_does_not_wait_for_busy_threads(
    encoder: str, album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    album(Path("photos"), 3)
    Path("endless.onnx").write_bytes(endless_model())
    command = ["prepare", "photos/captions.csv", "--output", "out.h5", "--encoder", encoder, "--min-count", "1"]
    with subprocess.Popen([sys.executable, "-c", BUSY, *command], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not Path("busy").exists():
            time.sleep(0.005)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("captioner: interrupted\n")
    assert "Traceback" not in err
    assert not Path("out.h5").exists()
