"""What is light stays light, and what is public is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import captioner

HEAVY = {"numpy", "h5py", "yaml", "tqdm"}
HELP = f"""
import sys
import captioner
from captioner.cli import cli

for words in ([], *([name] for name in cli.commands), *(["config", name] for name in cli.commands["config"].commands)):
    cli.main([*words, "--help"], standalone_mode=False)
assert captioner.__version__ and dir(captioner)
print("loaded:", sorted({HEAVY} & set(sys.modules)))
captioner.Config
print("loaded:", sorted({HEAVY} & set(sys.modules)))
"""


def test_help_of_any_command_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    done = shell(code=HELP)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("loaded:")] == ["loaded: []"] * 2


def test_every_public_name_can_be_had() -> None:
    for name in captioner.__all__:
        assert getattr(captioner, name).__name__ == name
        assert name in dir(captioner)
    assert not hasattr(captioner, "nonsense")


def test_captions_of_a_run_load_no_package_metadata(tiny_run: Path, shell: Callable[..., Any]) -> None:
    code = f"import sys, captioner\ncaptioner.load({str(tiny_run)!r})\nprint('importlib.metadata' in sys.modules)"
    done = shell(code=code)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
