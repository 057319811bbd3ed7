"""Checkpoints round-trip; a failed write keeps the old file."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoints import META, PARAMS, WHOLE
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError
from captioner.storage.checkpoint import Checkpoint, Meta, load, save
from captioner.storage.sealed import SIZE


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.meta == other.meta
    assert one.groups().keys() == other.groups().keys()
    for group, arrays in one.groups().items():
        assert arrays.keys() == other.groups()[group].keys()
        for name, array in arrays.items():
            assert array.dtype == other.groups()[group][name].dtype
            np.testing.assert_array_equal(array, other.groups()[group][name])


def test_a_saved_checkpoint_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "last.h5", WHOLE)
    assert_same(load(tmp_path / "last.h5"), WHOLE)
    assert os.listdir(tmp_path) == ["last.h5"]


steps = st.integers(0, 2**60)


@settings(max_examples=15, deadline=None)
@given(
    words=st.lists(st.text(max_size=8), max_size=5),
    step=steps,
    best=st.none() | st.fixed_dictionaries({"step": steps, "epoch": steps, "loss": st.floats(0, 9)}),
    shape=st.lists(st.integers(1, 3), max_size=3),
)
def test_any_words_numbers_and_shapes(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], step: int, best: Any, shape: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.h5"
    meta = Meta("", words, 1, "", "", [], step, best, 0, {}, "")
    saved = Checkpoint(meta, {"w": np.full(shape, -0.0)}, {}, {})
    save(path, saved)
    assert_same(load(path), saved)


def test_equal_checkpoints_give_equal_files(whole: bytes, tmp_path: Path) -> None:
    save(tmp_path / "again.h5", WHOLE)
    assert (tmp_path / "again.h5").read_bytes() == whole


def test_h5py_opens_the_file_past_the_seal(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    with h5py.File(path) as file:
        assert file.userblock_size == SIZE
        np.testing.assert_array_equal(file["slots/v/b"][()], PARAMS["b"] ** 2)
        assert json.loads(file["meta"][()])["words"] == META.words


def test_a_checkpoint_contains_only_floats_and_one_string(whole: bytes) -> None:
    with h5py.File(h5py.h5f.open_file_image(whole[SIZE:])) as file:
        kinds: dict[str, str] = {}
        file.visititems(lambda name, item: kinds.update({name: item.dtype.kind} if hasattr(item, "dtype") else {}))
    assert {kind for name, kind in kinds.items() if name != "meta"} == {"f"}
    assert kinds["meta"] == "S"


def test_the_file_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def recorded(*args: Any, name: str = name, real: Callable[..., None] = real) -> None:
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            calls.append(f"{name} folder" if folder else name)
            real(*args)

        monkeypatch.setattr(os, name, recorded)
    save(tmp_path / "last.h5", WHOLE)
    assert calls == ["fsync", "replace", "fsync folder"]


def test_a_full_disk_keeps_the_old_checkpoint(
    whole: bytes, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    larger = Checkpoint(META, {"w": np.ones(100_000)}, {}, {})
    with files_of_at_most(50_000), pytest.raises(CheckpointError) as caught:
        save(path, larger)
    assert str(caught.value) == f"{path}: cannot write the checkpoint: File too large; the previous one is kept"
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["last.h5"]


def test_saving_to_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent/last.h5: cannot write the checkpoint: No such file"):
        save(tmp_path / "absent" / "last.h5", WHOLE)


def test_a_parameter_that_is_not_finite_is_not_saved(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"array params/W: .*not finite"):
        save(path, Checkpoint(META, {"W": np.array([1.0, np.nan])}, {}, {}))
    assert path.read_bytes() == whole
