"""What training and decoding load of captioner: nothing of photographs or teaching, and not much of the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNT = """
import json, sys
from captioner.cli import main
try:
    main()
finally:
    loaded = [module for name, module in sys.modules.items() if name.partition(".")[0] == "captioner"]
    lines = sum(open(module.__file__, "rb").read().count(b"\\n") for module in loaded)
    print(json.dumps([sorted(module.__name__ for module in loaded), lines]))
"""
WINGS = ("captioner.photos", "captioner.teaching", "captioner.cs231n")


def loaded_by(shell: Callable[..., Any], *words: object) -> tuple[list[str], int]:
    done = shell(*words, code=COUNT)
    assert done.returncode == 0, done.stderr
    names, lines = json.loads(done.stdout.splitlines()[-1])
    assert not [name for name in names if name.startswith(WINGS)]
    return names, lines


def test_training_loads_the_core(shell: Callable[..., Any], small_options: tuple[str, ...], tmp_path: Path) -> None:
    names, lines = loaded_by(shell, "train", "-c", "scenes-lstm", *small_options, "--run", tmp_path / "run")
    assert {"captioner.training.solver", "captioner.data.scenes"} <= set(names)
    assert len(names) <= 100
    assert lines <= 15_000


def test_decoding_loads_less(shell: Callable[..., Any], tiny_run: Path) -> None:
    names, lines = loaded_by(shell, "sample", tiny_run, "-n", 2)
    assert not [name for name in names if name.startswith("captioner.training")]
    assert len(names) <= 82
    assert lines <= 12_000
