"""Hostile files with a valid seal are refused with a one-line error."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkpoints import META, error_of, image_of, replace, sealed

from captioner.errors import CheckpointError
from captioner.storage import checkpoint
from captioner.storage.checkpoint import load
from captioner.storage.sealed import MODEL_SEAL
from captioner.storage.sealed_arrays import MAX_OBJECTS


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("params/x", layout)


def never_written(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((1 << 40,))
    h5py.h5d.create(file["params"].id, b"x", h5py.h5t.IEEE_F32LE, space, plan)


def compact(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file["params"].id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), plan)


PLAIN = "array params/x: expected a plain array of floats"
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external_link": (lambda f: f.__setitem__("params/x", h5py.ExternalLink("/etc/x.h5", "/x")), "params/x: .*a link"),
    "dangling_link": (lambda f: f.__setitem__("params/x", h5py.SoftLink("/no")), "params/x: .*a link"),
    "two_names": (lambda f: f.__setitem__("params/x", f["params/b"]), "params/(b|x): the same object"),
    "root_again": (lambda f: f.__setitem__("x", f["/"]), "the same object has two names"),
    "virtual": (virtual, PLAIN),
    "external_storage": (
        lambda f: f.create_dataset("params/x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), PLAIN
    ),
    "variable_length_meta": (
        lambda f: replace(f, "meta", data=json.dumps(dataclasses.asdict(META)), dtype=h5py.string_dtype()),
        "array meta: expected",
    ),
    "ragged": (lambda f: f.create_dataset("params/x", (2,), h5py.vlen_dtype(np.float32)), PLAIN),
    "integers": (lambda f: f.create_dataset("params/x", data=np.arange(4)), PLAIN),
    "enum": (lambda f: f.create_dataset("params/x", (2,), h5py.enum_dtype({"A": 0})), PLAIN),
    "named_type": (lambda f: f.__setitem__("params/x", np.dtype("f4")), PLAIN),
    "gzip": (lambda f: f.create_dataset("params/x", data=np.zeros(9), compression="gzip"), PLAIN),
    "never_written": (never_written, PLAIN),
    "compact": (compact, PLAIN),
    "nan": (lambda f: f.create_dataset("params/x", data=[0.0, np.nan]), "array params/x: a number is not finite"),
    "deep": (lambda f: f.create_group("params/" + "g/" * 3000), "too many or too deeply"),
    "many": (lambda f: [f.create_group(f"params/g{i}") for i in range(MAX_OBJECTS + 9)], "too many or too deeply"),
    "other_group": (lambda f: f.create_dataset("other/x", data=[1.0]), "unknown .other."),
    "array_beside_meta": (lambda f: f.create_dataset("other", data=[1.0]), "other"),
    "line_end_in_a_name": (lambda f: f.__setitem__("params/x\n\x1b[2J", h5py.SoftLink("/no")), "x"),
    "no_meta": (lambda f: f.__delitem__("meta"), "meta: expected a string, got nothing"),
    "meta_of_floats": (lambda f: replace(f, "meta", data=[1.0]), "meta: expected a string, got float64"),
    "two_metas": (lambda f: replace(f, "meta", data=np.array([b"{}", b"{}"])), "not readable as a model"),
    "meta_of_bytes": (lambda f: replace(f, "meta", data=np.bytes_(b"\xff\xfe")), "not readable as a model"),
}  # fmt: skip


def test_the_unchanged_image_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(sealed(image_of(lambda file: None)))
    assert load(path).meta == META


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    change, expected = HOSTILE[name]
    path = tmp_path / "last.h5"
    path.write_bytes(sealed(image_of(change)))
    assert re.search(expected, error_of(path))


def test_an_image_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    for payload in (b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(sealed(payload))
        assert error_of(path).startswith("not readable as a model: ")


def test_a_file_above_the_maximum_size_is_refused(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.h5"
    monkeypatch.setattr(checkpoint, "MODEL_SEAL", dataclasses.replace(MODEL_SEAL, max_bytes=100))
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="expected a model of at most 100 bytes, got "):
        load(path)
