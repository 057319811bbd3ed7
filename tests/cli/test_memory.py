"""Memory: reads allocate what the file holds, and a failed allocation is one line that names what was read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

resource = pytest.importorskip("resource")
ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "docs" / "photos"
Limited = Callable[..., tuple[int, str, str]]


@pytest.fixture
def limited(shell: Callable[..., Any], tmp_path: Path) -> Limited:
    """Runs a command in a process with some KiB of address space, as after `ulimit -v`."""

    def run(kib: int, *words: object) -> tuple[int, str, str]:
        limit = kib << 10
        done = shell(*words, cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        return done.returncode, done.stdout, done.stderr

    return run


def test_nine_photographs_need_little_memory(limited: Limited) -> None:
    code, out, err = limited(1_500_000, "caption", PHOTOS)
    assert (code, out.count("\n")) == (0, 9), err


def test_captions_that_do_not_fit_are_named(limited: Limited, tmp_path: Path) -> None:
    caption = "a dog runs " * 20
    lines = (f'{{"image": "{row}.jpg", "caption": "{caption}{row}"}}\n' for row in range(300_000))
    (tmp_path / "big.jsonl").write_text("".join(lines))
    done = limited(500_000, "prepare", "big.jsonl", "--output", "o.h5")
    assert done == (1, "", "captioner: big.jsonl: cannot be read: not enough memory\n")


def test_features_that_do_not_fit_are_named(limited: Limited, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,a cat\n")
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2, 100_000_000)), plan)
        file["images"] = [b"a.jpg", b"b.jpg"]
    options = ("--features", "wide.h5", "--output", "o.h5", "--min-count", 1, "--val", 0)
    code, out, err = limited(500_000, "prepare", "c.csv", *options)
    assert (code, out) == (1, "")
    assert err.endswith("wide.h5: dataset 'features': cannot be read: not enough memory\n")
