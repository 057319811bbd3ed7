"""Shell completion of commands, options and run folders."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ZshComplete

from captioner.cli import cli as root


def completed(args: list[str], incomplete: str) -> list[str]:
    shell = ZshComplete(root, {}, "captioner", "_CAPTIONER_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


def test_run_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/scenes/best.h5", "runs/birds/last.h5", "runs/empty/config.yaml", "other/run/last.h5"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    for args in (["train", "--resume"], ["inspect", "gradients"], ["inspect", "gradients", "runs/birds"]):
        assert completed(args, "") == ["runs/birds", "runs/scenes"]
        assert completed(args, "runs/s") == ["runs/scenes"]
        assert completed(args, "other/") == ["other/run"]
    shell = ZshComplete(root, {}, "captioner", "_CAPTIONER_COMPLETE")
    for incomplete in ("runs/scenes/", "absent/x", "oth"):
        (item,) = shell.get_completions(["train", "--resume"], incomplete)
        assert (item.value, item.type) == (incomplete, "file")


def test_completion_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    code = (
        "import atexit, sys; from captioner.cli import main\n"
        "heavy = {'numpy', 'h5py', 'yaml', 'tqdm'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    environment = {"_CAPTIONER_COMPLETE": "bash_complete", "COMP_WORDS": "captioner train --ove", "COMP_CWORD": "2"}
    done = shell(code=code, env={**os.environ, **environment})
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,--overfit\nplain,--overwrite\n", "[]\n")
