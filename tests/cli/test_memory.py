"""Memory: reads allocate what the file holds, and a failed allocation is one line that names what was read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

resource = pytest.importorskip("resource")
ROOT = Path(__file__).parents[2]
MODEL, PHOTOS = ROOT / "models" / "flickr8k.h5", ROOT / "docs" / "photos"
Limited = Callable[..., tuple[int, str, str]]


@pytest.fixture
def limited(shell: Callable[..., Any], tmp_path: Path) -> Limited:
    """Runs a command in a process with some KiB of address space, as after `ulimit -v`."""

    def run(kib: int, *words: object) -> tuple[int, str, str]:
        limit = kib << 10
        done = shell(*words, cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_short_table_needs_little_memory(limited: Limited, tmp_path: Path) -> None:
    (tmp_path / "two-lines.csv").write_text("image,caption\na.jpg,a dog runs\n")
    (tmp_path / "a.jpg").touch()
    code, out, err = limited(500_000, "data", "check", "two-lines.csv", "--min-count", 1, "--val", 0)
    assert (code, out.split("\n")[0], err) == (0, "two-lines.csv", "")


def test_three_photographs_need_little_memory(limited: Limited) -> None:
    code, out, err = limited(1_500_000, "sample", MODEL, PHOTOS)
    assert (code, out.count("\n")) == (0, 3), err


@pytest.mark.parametrize("command", ["data check big.csv", "evaluate --captions big.csv --references big.csv"])
def test_what_does_not_fit_is_named(command: str, limited: Limited, tmp_path: Path) -> None:
    with open(tmp_path / "big.csv", "w") as file:
        file.truncate(1 << 30)
    code, out, err = limited(1_000_000, *command.split())
    assert (code, out, err) == (1, "", "captioner: big.csv: cannot be read: not enough memory\n")
