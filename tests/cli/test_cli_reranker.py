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
    words = ("prepare", table, "--output", "data.h5", "--encoder", "scenes", "--val", "0.2", "--min-count", "1")
    assert shell(*words, cwd=home).returncode == 0
    decode = ("-o", "decode.beam_width=6", "-o", "decode.length_penalty=0.5", "-o", "decode.consensus=50")
    rest = ("-o", "train.epochs=30", "-o", "train.learning_rate=0.02")
    trained = shell("train", "--data", "data.h5", "--run", "run", *small_options, *rest, *decode, cwd=home)
    assert trained.returncode == 0, trained.stderr
    return home


@pytest.fixture
def moved(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same folder, restored after the test: the run has the absolute path of its data set."""
    shutil.copytree(home, tmp_path / "whole")
    monkeypatch.chdir(home)
    yield home
    monkeypatch.undo()
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "whole", home)


def test_the_index_replaces_the_data_set(moved: Path, cli: Callable[..., Any]) -> None:
    (moved / "run" / "reranker.h5").rename(moved / "kept")
    with_data = cli("sample", "run", "new", "--n-best", 4)
    (moved / "kept").rename(moved / "run" / "reranker.h5")
    with_both = cli("sample", "run", "new", "--n-best", 4)
    (moved / "data.h5").unlink()
    with_index = cli("sample", "run", "new", "--n-best", 4)
    plain = cli("sample", "run", "new", "--n-best", 4, *PLAIN)
    for done in (with_data, with_both, with_index, plain):
        assert (done.code, done.err) == (0, "")
    assert with_data.out == with_both.out == with_index.out
    assert with_index.out != plain.out


@pytest.mark.parametrize("kind", ["photographs", "features"])
def test_without_data_set_and_index_a_warning_is_printed(kind: str, moved: Path, cli: Callable[..., Any]) -> None:
    with h5py.File(moved / "data.h5") as data, h5py.File(moved / "new.h5", "w") as file:
        file["features"] = np.asarray(data["val"]["features"])
    what = ("new",) if kind == "photographs" else ("--features", "new.h5")
    expected = cli("sample", "run", *what, *PLAIN).succeeded()
    for name in ("data.h5", "run/reranker.h5"):
        (moved / name).unlink()
    done = cli("sample", "run", *what)
    assert (done.code, done.out) == (0, expected.out)
    assert len(done.out.splitlines()) > 5
    assert done.err == (
        f"captioner: warning: decode.consensus: neither run/reranker.h5 nor the data set {moved}/data.h5 was found, "
        "so captions are ranked by log-probability / length^0.5 alone; "
        "try -o data.root=FILE, or -o decode.consensus=0\n"
    )


def test_a_damaged_index_is_one_line_with_a_hint(moved: Path, cli: Callable[..., Any]) -> None:
    path = moved / "run" / "reranker.h5"
    path.write_bytes(path.read_bytes()[:-1000] + bytes(1000))
    cli("sample", "run", "new").failed(
        1, "decode.consensus: run/reranker.h5: damaged: its content does not match its seal; "
    )
    assert cli("sample", "run", "new", *PLAIN).code == 0
    assert cli("train", "--resume", "run").code == 0
    cli("sample", "run", "new").succeeded()


def test_changed_captions_are_an_error_and_a_new_split_is_not(moved: Path, cli: Callable[..., Any]) -> None:
    expected = cli("sample", "run", "new").out
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
    assert cli("prepare", table, "--output", "data.h5", *lists, *common).code == 0
    done = cli("sample", "run", "new").succeeded()
    assert done.out == expected
    images, captions = zip(*(line.split(",") for line in lines[1:]), strict=True)
    swapped = map(",".join, zip(images, captions[2:] + captions[:2], strict=True))
    table.write_text("\n".join([lines[0], *swapped]) + "\n")
    assert cli("prepare", table, "--output", "data.h5", *lists, *common).code == 0
    failed = cli("sample", "run", "new")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("captioner: decode.consensus: ")
    assert failed.err.endswith("; or -o decode.consensus=0\n")
    assert len(failed.err.splitlines()) == 1
    assert cli("sample", "run", "new", *PLAIN).code == 0
