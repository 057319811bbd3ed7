"""Consensus re-ranking of captions, with and without the data set and the index."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

PLAIN = ("-o", "decode.consensus=0")


@pytest.fixture(scope="module")
def home(
    shell: Callable[..., Any],
    album: Callable[..., Path],
    small_options: Sequence[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with the run `run`, trained on `data.h5`, and new photographs in `new`."""
    home = tmp_path_factory.mktemp("reranked")
    table = album(home / "photos", 40)
    album(home / "new", 6, first=80).unlink()
    words = ("prepare", table, "-o", "data.h5", "--encoder", "scenes", "--val", "0.2", "--min-count", "1")
    assert shell(*words, cwd=home).returncode == 0
    decode = ("-o", "decode.beam_width=6", "-o", "decode.length_penalty=0.5", "-o", "decode.consensus=50")
    rest = ("-o", "train.epochs=30", "-o", "train.learning_rate=0.02")
    trained = shell("train", "--data", "data.h5", "--run", "run", *small_options, *rest, *decode, cwd=home)
    assert trained.returncode == 0, trained.stderr
    return home


@pytest.fixture
def moved(home: Path, tmp_path: Path) -> Iterator[Path]:
    """The same folder, restored after the test: the run has the absolute path of its data set."""
    shutil.copytree(home, tmp_path / "whole")
    yield home
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "whole", home)


def test_the_index_replaces_the_data_set(moved: Path, shell: Callable[..., Any]) -> None:
    (moved / "run" / "reranker.h5").rename(moved / "kept")
    with_data = shell("sample", "run", "new", "--n-best", 4, cwd=moved)
    (moved / "kept").rename(moved / "run" / "reranker.h5")
    with_both = shell("sample", "run", "new", "--n-best", 4, cwd=moved)
    (moved / "data.h5").unlink()
    with_index = shell("sample", "run", "new", "--n-best", 4, cwd=moved)
    plain = shell("sample", "run", "new", "--n-best", 4, *PLAIN, cwd=moved)
    for done in (with_data, with_both, with_index, plain):
        assert (done.returncode, done.stderr) == (0, "")
    assert with_data.stdout == with_both.stdout == with_index.stdout
    assert with_index.stdout != plain.stdout


@pytest.mark.parametrize("kind", ["photographs", "features"])
def test_without_data_set_and_index_a_warning_is_printed(kind: str, moved: Path, shell: Callable[..., Any]) -> None:
    with h5py.File(moved / "data.h5") as data, h5py.File(moved / "new.h5", "w") as file:
        file["features"] = np.asarray(data["val"]["features"])
    what = ("new",) if kind == "photographs" else ("--features", "new.h5")
    expected = shell("sample", "run", *what, *PLAIN, cwd=moved)
    assert (expected.returncode, expected.stderr) == (0, "")
    for name in ("data.h5", "run/reranker.h5"):
        (moved / name).unlink()
    done = shell("sample", "run", *what, cwd=moved)
    assert (done.returncode, done.stdout) == (0, expected.stdout)
    assert len(done.stdout.splitlines()) > 5
    assert done.stderr == (
        f"captioner: warning: decode.consensus: neither run/reranker.h5 nor the data set {moved}/data.h5 was found, "
        "so captions are ranked by log-probability / length^0.5 alone; try -o data.root=NEW, or -o decode.consensus=0\n"
    )


def test_a_damaged_index_is_one_line_with_a_hint(moved: Path, shell: Callable[..., Any]) -> None:
    path = moved / "run" / "reranker.h5"
    path.write_bytes(path.read_bytes()[:-1000] + bytes(1000))
    done = shell("sample", "run", "new", cwd=moved)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "captioner: decode.consensus: run/reranker.h5: damaged: its content does not match its seal; "
        "`captioner train --resume RUN` writes it again; or -o decode.consensus=0\n"
    )
    assert shell("sample", "run", "new", *PLAIN, cwd=moved).returncode == 0
    assert shell("train", "--resume", "run", cwd=moved).returncode == 0
    again = shell("sample", "run", "new", cwd=moved)
    assert (again.returncode, again.stderr) == (0, "")


def test_changed_captions_are_an_error_and_a_new_split_is_not(moved: Path, shell: Callable[..., Any]) -> None:
    expected = shell("sample", "run", "new", cwd=moved).stdout
    (moved / "run" / "reranker.h5").unlink()
    table = moved / "photos" / "captions.csv"
    lines = table.read_text().splitlines()
    names = sorted({line.split(",")[0] for line in lines[1:]})
    with h5py.File(moved / "data.h5") as data:
        splits = {split: [name.decode() for name in data[split]["images"]] for split in ("train", "val")}
    (moved / "train.txt").write_text("\n".join(splits["train"]))
    (moved / "val.txt").write_text("\n".join(splits["val"][:2]))
    (moved / "test.txt").write_text("\n".join(splits["val"][2:]))
    assert set(splits["train"] + splits["val"]) == set(names)
    lists = ("--list", "train=train.txt", "--list", "val=val.txt", "--list", "test=test.txt")
    common = ("--encoder", "scenes", "--min-count", "1", "--overwrite")
    assert shell("prepare", table, "-o", "data.h5", *lists, *common, cwd=moved).returncode == 0
    done = shell("sample", "run", "new", cwd=moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected
    images, captions = zip(*(line.split(",") for line in lines[1:]), strict=True)
    swapped = map(",".join, zip(images, captions[2:] + captions[:2], strict=True))
    table.write_text("\n".join([lines[0], *swapped]) + "\n")
    assert shell("prepare", table, "-o", "data.h5", *lists, *common, cwd=moved).returncode == 0
    failed = shell("sample", "run", "new", cwd=moved)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("captioner: decode.consensus: ")
    assert failed.stderr.endswith("; or -o decode.consensus=0\n")
    assert len(failed.stderr.splitlines()) == 1
    assert shell("sample", "run", "new", *PLAIN, cwd=moved).returncode == 0
