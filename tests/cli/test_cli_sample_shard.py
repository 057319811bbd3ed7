"""captioner sample --shard: the outputs of all shards in order are the output of the whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.inference.find_checkpoint import find_checkpoint
from captioner.storage import checkpoint

PARTS = 3
SAMPLING = "decode.method=sampling"


@pytest.fixture(autouse=True)
def _here(photo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has photographs in two folders, and the row numbers' features."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photo_run.parent / "photos", "photos")
    Path("photos/more").mkdir()
    for name in ("006.png", "007.png"):
        Path("photos", name).rename(Path("photos/more", name))
    width = checkpoint.load(find_checkpoint(photo_run)).meta.feature_dim
    with h5py.File("given.h5", "w") as file:
        file["features"] = np.random.default_rng(0).standard_normal((5, width)).astype(np.float32)


def text_of(done: Any) -> list[tuple[str, str]]:
    return [(one["image"], one["caption"]) for one in map(json.loads, done.out.splitlines())]


INPUTS = {
    "photographs": ["photos"],
    "photographs by name": ["photos/more/007.png", "photos/more", "photos/000.png"],
    "the first photographs": ["photos", "-n", "4"],
    "a split": ["--split", "train"],
    "the first images of a split": ["--split", "train", "-n", "4"],
    "samples of photographs": ["photos", "-o", SAMPLING, "--n-best", "2"],
    "samples of a split": ["--split", "train", "-o", SAMPLING],
    "features": ["--features", "given.h5", "-o", SAMPLING],
}


@pytest.mark.parametrize("words", INPUTS.values(), ids=INPUTS)
def test_shards_concatenate_to_the_whole(words: list[str], cli: Callable[..., Any], photo_run: Path) -> None:
    command = ["sample", photo_run, *words, "--json"]
    whole = cli(*command)
    parts = [cli(*command, "--shard", f"{number}/{PARTS}") for number in range(1, PARTS + 1)]
    assert [line for part in parts for line in text_of(part)] == text_of(whole)
    probabilities = [json.loads(line)["log_prob"] for part in parts for line in part.out.splitlines()]
    assert probabilities == pytest.approx([json.loads(line)["log_prob"] for line in whole.out.splitlines()], rel=1e-4)
    assert len({len(text_of(part)) for part in parts}) <= 2
    assert all(text_of(part) for part in parts)


def test_unreadable_photographs_belong_to_a_shard_too(cli: Callable[..., Any], photo_run: Path) -> None:
    """Damage does not move the other photographs to other shards."""
    before = text_of(cli("sample", photo_run, "photos", "--json", "--shard", "2/4"))
    Path("photos/000.png").write_bytes(b"no photograph")
    first, second = (cli("sample", photo_run, "photos", "--json", "--shard", f"{n}/4") for n in (1, 2))
    assert (first.code, second.code) == (1, 0)
    assert text_of(second) == before
    assert [Path(image).name for image, _ in text_of(first)] == ["001.png"]


def test_a_folder_without_photographs_is_reported_by_every_shard(cli: Callable[..., Any], photo_run: Path) -> None:
    Path("empty").mkdir()
    parts = [cli("sample", photo_run, "empty", "photos", "--json", "--shard", f"{number}/4") for number in (1, 2, 3, 4)]
    assert {part.code for part in parts} == {1}
    assert {part.err for part in parts} == {"captioner: empty: expected photographs in this folder, got none\n"}
    assert [len(text_of(part)) for part in parts] == [2, 2, 2, 2]


@pytest.mark.parametrize("words", [["photos"], ["--split", "train"], ["--features", "given.h5"]], ids=" ".join)
def test_more_shards_than_images(words: list[str], cli: Callable[..., Any], photo_run: Path) -> None:
    done = cli("sample", photo_run, *words, "--shard", "1/99")
    assert (done.code, done.out) == (2, "")
    assert "captioner: --shard 1/99: expected at most one shard per image, got " in done.err
    assert done.err.count("\n") == 1
