"""Without the extras, every command works for generated scenes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HIDDEN = (
    "PIL",
    "pillow_heif",
    "onnxruntime",
    "threadpoolctl",
    "tensorboardX",
    "onnx",
    "safetensors",
    "jinja2",
    "starlette",
    "uvicorn",
)
COMMANDS = (
    ("sample", "run"),
    ("sample", "run", "--json", "--coco", "captions.json"),
    ("evaluate", "run", "--baseline", "nn"),
    ("inspect", "gradients", "run", "--word", "2"),
    ("data", "show", "scenes", "-o", "data.scenes.train=9", "-n", "1"),
    ("train", "--resume", "run", "-o", "train.epochs=3"),
)


def test_commands_need_no_extra(shell: Callable[..., Any], own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)
    code = (
        f"import sys; sys.modules |= dict.fromkeys({HIDDEN})\n"
        "from captioner.cli import cli\n"
        f"for command in {COMMANDS}:\n"
        "    assert not cli.main([*command], standalone_mode=False), command"
    )
    done = shell(code=code)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "rror" in line]) == (0, [])
    assert Path("captions.json").exists()
