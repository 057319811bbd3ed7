"""Resumed preparation: encoded features are stored, and no photograph is encoded twice."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preparing import COUNT, EXPECTED, Counted, events_of, feature_file, features_by_name, interrupt, made, refusal

from captioner.data.scenes.encoding import ENCODER, FEATURES
from captioner.errors import UsageError
from captioner.images.encoders import ScenesEncoder
from captioner.images.feature_store import FeatureStore
from captioner.preparation import prepare as preparation
from captioner.preparation.encode import EncodingProgress


def test_an_interrupted_run_is_resumed(photos: Path, encoded: Counted) -> None:
    interrupt(photos, encoded, threads=1)
    assert os.path.exists(photos.parent / "out.h5.part")
    assert not os.path.exists(photos.parent / "out.h5")
    corpus, events = made(photos, threads=1)
    assert encoded() == COUNT - 5
    assert events[:-1] == [EncodingProgress(done, COUNT, min(done, 5)) for done in range(1, COUNT + 1)]
    for name, row in features_by_name(corpus).items():
        np.testing.assert_allclose(row, EXPECTED[int(name[:3])], atol=1e-5)
    assert not os.path.exists(photos.parent / "out.h5.part")


def test_an_interrupted_run_with_a_recipe_is_resumed(photos: Path, encoded: Counted) -> None:
    options: dict[str, Any] = {"threads": 1, "encoder": "scenes+scenes:mirror"}
    interrupt(photos, encoded, **options)
    corpus, _ = made(photos, **options)
    assert encoded() == 3 * (COUNT - 5)  # the mirror image is a second pass of its part
    assert corpus.encoder == f"{ENCODER}+{ENCODER}:mirror"
    assert corpus.feature_dim == 2 * FEATURES
    for name, row in features_by_name(corpus).items():
        np.testing.assert_allclose(row[:FEATURES], EXPECTED[int(name[:3])], atol=1e-5)


def test_a_later_failure_keeps_encoded_features(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "write_prepared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(events_of(photos))
    encoded()
    _, events = made(photos)
    assert encoded() == 0
    assert events[-2] == EncodingProgress(COUNT, COUNT, COUNT)


def test_incomplete_records_are_encoded_again(photos: Path, encoded: Counted) -> None:
    part = photos.parent / "out.h5.part"
    interrupt(photos, threads=1)
    os.truncate(part, part.stat().st_size - 100)
    encoded()
    corpus, _ = made(photos)
    assert encoded() == COUNT - 4
    np.testing.assert_allclose(features_by_name(corpus)["004.png"], EXPECTED[4], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"captioner", b"captioner encodings " + b"0" * 64 + b"\nmore"])
def test_an_empty_or_foreign_store_is_encoded_again(content: bytes, photos: Path, encoded: Counted) -> None:
    (photos.parent / "out.h5.part").write_bytes(content)
    made(photos)
    assert encoded() == COUNT


def test_a_part_file_of_another_type_is_kept(photos: Path) -> None:
    part = photos.parent / "out.h5.part"
    part.write_bytes(b"half a download")
    message = f"{part}: expected encoded features of an earlier run, got another file; move it away"
    assert refusal(photos, UsageError) == message
    assert part.read_bytes() == b"half a download"
    part.unlink()
    part.symlink_to("/dev/zero")
    message = f"{part}: expected a file for encoded features, got a device; move it away"
    assert refusal(photos, UsageError) == message


ENDED = ".out.h5.999999999.tmp"
"""A temporary file of a process that cannot exist."""


def test_temporary_files_of_killed_processes_are_removed(photos: Path) -> None:
    for options in ({}, {"features": feature_file(photos, EXPECTED), "overwrite": True}):
        (photos.parent / ENDED).write_bytes(b"half a data set")
        made(photos, **options)
        assert sorted(os.listdir(photos.parent)) == ["out.h5", "photos"]


def test_obsolete_features_are_removed(photos: Path) -> None:
    """A run was killed after it wrote the data set, before it removed the features."""
    part, output = photos.parent / "out.h5.part", photos.parent / "out.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        made(photos)
    assert part.exists()
    content = output.read_bytes()
    with pytest.raises(UsageError) as caught:
        list(events_of(photos))
    assert str(caught.value) == (
        f"{output}: exists already, and is complete: it was written by a run that was killed before it removed "
        "out.h5.part, which is removed now; use this data set, or replace it with --overwrite"
    )
    assert not part.exists()
    assert output.read_bytes() == content
    assert refusal(photos, UsageError) == (
        f"{output}: exists already; name another file, or replace it with --overwrite"
    )


def test_features_of_an_interrupted_run_with_overwrite_are_kept(photos: Path, encoded: Counted) -> None:
    made(photos)
    interrupt(photos, threads=1, overwrite=True)
    with pytest.raises(UsageError, match="exists already; name another file"):
        list(events_of(photos))
    encoded()
    made(photos, overwrite=True)
    assert encoded() == COUNT - 5


def test_a_part_file_of_another_program_is_kept(photos: Path) -> None:
    made(photos)
    part = photos.parent / "out.h5.part"
    part.write_bytes(b"half a download")
    os.utime(part, (0, 0))
    assert "exists already; name another file" in refusal(photos, UsageError)
    assert part.read_bytes() == b"half a download"


def test_another_dtype_is_encoded_again(photos: Path, encoded: Counted) -> None:
    interrupt(photos, encoded, dtype="float16")
    corpus, _ = made(photos)
    assert encoded() == COUNT
    np.testing.assert_allclose(features_by_name(corpus)["000.png"], EXPECTED[0], atol=1e-5)


def test_renaming_the_model_keeps_stored_features(
    photos: Path, encoded: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = "onnx:{},size=8,mean=0,scale=1,layout=nchw,output=x,sha256=" + 64 * "0"
    monkeypatch.setattr(ScenesEncoder, "identity", identity.format("old.onnx"))
    interrupt(photos, encoded, threads=1)
    monkeypatch.setattr(ScenesEncoder, "identity", identity.format("new.onnx"))
    made(photos)
    assert encoded() == COUNT - 5


def test_a_changed_photograph_is_encoded_again(photos: Path, encoded: Counted) -> None:
    interrupt(photos, threads=1)
    shutil.copy(photos / "007.png", photos / "001.png")
    encoded()
    corpus, _ = made(photos)
    assert encoded() == COUNT - 5 + 1
    np.testing.assert_allclose(features_by_name(corpus)["001.png"], EXPECTED[7], atol=1e-5)


def test_concurrent_writers_are_rejected(photos: Path) -> None:
    part = photos.parent / "out.h5.part"
    with FeatureStore(part, ENCODER, FEATURES, np.dtype(np.float32)):
        message = refusal(photos, UsageError)
    assert message == f"{part}: another process writes encoded features to this file; wait for it"


def test_a_full_disk_keeps_encoded_features(
    photos: Path, encoded: Counted, files_of_at_most: Callable[[int], Any]
) -> None:
    with files_of_at_most(3 * 4 * FEATURES):
        message = refusal(photos)
    assert message == f"{photos.parent / 'out.h5.part'}: cannot store features: File too large"
    encoded()
    made(photos)
    assert encoded() == COUNT - 2
