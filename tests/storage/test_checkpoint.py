"""Checkpoints round-trip; damaged, hostile and foreign files are refused with a one-line error."""

import dataclasses
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError
from captioner.storage import checkpoint
from captioner.storage.checkpoint import SEAL, Checkpoint, Meta, load, save
from captioner.storage.sealed import SIZE
from captioner.storage.sealed_arrays import MAX_OBJECTS

META = Meta(
    config="seed: 3\n",
    words=["<NULL>", "<START>", "<END>", "<UNK>", "café"],
    feature_dim=2,
    encoder="drawn",
    fingerprint="ab" * 32,
    probe=[0.5, -0.25],
    step=7,
    best={"step": 5, "epoch": 1, "loss": 2.5},
    since_best=1,
    environment={},
    train_fingerprint="cd" * 32,
)
RNG = np.random.default_rng(0)
PARAMS = {"W_proj": RNG.standard_normal((3, 4)).astype(np.float32), "b": RNG.standard_normal(5)}
WHOLE = Checkpoint(META, PARAMS, {"m": PARAMS, "v": {name: w * w for name, w in PARAMS.items()}}, {"mean": np.zeros(2)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "last.h5"
    save(path, WHOLE)
    return path.read_bytes()


def refusal(path: Path) -> str:
    """Return the error of `load` without the file name; it must be one printable line."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def sealed(image: bytes) -> bytes:
    """Seal an image with the right digest, as a hostile writer can."""
    digest = hashlib.sha256(image).hexdigest()
    return SEAL.of(len(image), digest) + image


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


# --- damage


MUTATIONS: dict[str, Callable[[bytearray, int, np.random.Generator], None]] = {
    "bit": lambda b, at, rng: b.__setitem__(at, b[at] ^ 1 << int(rng.integers(8))),
    "byte": lambda b, at, rng: b.__setitem__(at, int(rng.integers(256))),
    "cut": lambda b, at, rng: b.__delitem__(slice(at, None)),
    "hole": lambda b, at, rng: b.__setitem__(slice(at, at + 512), bytes(len(b[at : at + 512]))),
    "lost": lambda b, at, rng: b.__delitem__(slice(at, at + int(rng.integers(1, 512)))),
    "more": lambda b, at, rng: b.__setitem__(slice(at, at), rng.bytes(int(rng.integers(1, 512)))),
    "noise": lambda b, at, rng: b.__setitem__(slice(at, at + 64), rng.bytes(len(b[at : at + 64]))),
    "twice": lambda b, at, rng: b.__setitem__(slice(at, at), b[at:]),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_damage_is_detected(mutation: str, whole: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "last.h5", np.random.default_rng(list(MUTATIONS).index(mutation))
    for trial in range(40):
        damaged = bytearray(whole)
        within = 110 if trial % 4 == 0 else len(whole)  # every fourth time in the seal, the only part that is parsed
        MUTATIONS[mutation](damaged, int(rng.integers(within)), rng)
        if damaged != whole:
            path.write_bytes(damaged)
            refusal(path)


def test_a_later_version_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole.replace(b"checkpoint 2 ", b"checkpoint 3 ", 1))
    assert refusal(path) == "expected checkpoint version 2, got 3; use the version of captioner that wrote it"


def test_a_truncated_file_is_refused_with_both_sizes(whole: bytes, tmp_path: Path) -> None:
    path, size = tmp_path / "last.h5", len(whole) - SIZE
    path.write_bytes(whole[:-1000])
    assert refusal(path) == f"damaged: expected {size:,} bytes after the seal, got {size - 1000:,}"
    path.write_bytes(whole[:300])
    assert "-" not in refusal(path)


NOT_CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("seed: 3\n" * 1000),
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path),
    "hdf5": lambda path: h5py.File(path, "w").close(),
    "pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR."),
    "below_a_file": lambda path: path.parent.rmdir() or path.parent.touch(),
}
EXPECTED = {
    "missing": "cannot open the checkpoint: No such file or directory",
    "folder": "expected a checkpoint file, got a folder",
    "pipe": "expected a checkpoint file, got a named pipe",
    "device": "expected a checkpoint file, got a device",
    "dangling": "cannot open the checkpoint: No such file or directory",
    "circle": "cannot open the checkpoint: Too many levels of symbolic links",
    "below_a_file": "cannot open the checkpoint: Not a directory",
}


@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_a_file_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "last.h5"
    path.parent.mkdir()
    NOT_CHECKPOINTS[kind](path)
    other = "not a captioner checkpoint; expected a file that `captioner train` wrote"
    assert refusal(path) == EXPECTED.get(kind, other)


# --- hostile files with a valid seal


def image_of(change: Callable[[h5py.File], object]) -> bytes:
    image = io.BytesIO()
    with h5py.File(image, "w", libver="latest") as file:
        file["meta"] = np.bytes_(json.dumps(vars(META)).encode())
        for name, array in PARAMS.items():
            file[f"params/{name}"] = array
        change(file)
    return image.getvalue()


def replace(file: h5py.File, name: str, **how: Any) -> None:
    del file[name]
    file.create_dataset(name, **how)


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
    "soft_link": (lambda f: f.__setitem__("params/x", h5py.SoftLink("/params/b")), "params/x: .*a link"),
    "dangling_link": (lambda f: f.__setitem__("params/x", h5py.SoftLink("/no")), "params/x: .*a link"),
    "two_names": (lambda f: f.__setitem__("params/x", f["params/b"]), "params/(b|x): the same object"),
    "circle": (lambda f: f.__setitem__("params/x", f["params"]), "params/x: the same object"),
    "root_again": (lambda f: f.__setitem__("x", f["/"]), "the same object has two names"),
    "virtual": (virtual, PLAIN),
    "external_storage": (
        lambda f: f.create_dataset("params/x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), PLAIN
    ),
    "variable_length": (lambda f: f.create_dataset("params/x", data="text", dtype=h5py.string_dtype()), PLAIN),
    "variable_length_meta": (
        lambda f: replace(f, "meta", data=json.dumps(vars(META)), dtype=h5py.string_dtype()), "array meta: expected"
    ),
    "ragged": (lambda f: f.create_dataset("params/x", (2,), h5py.vlen_dtype(np.float32)), PLAIN),
    "reference": (lambda f: f.create_dataset("params/x", data=f["params/b"].ref, dtype=h5py.ref_dtype), PLAIN),
    "integers": (lambda f: f.create_dataset("params/x", data=np.arange(4)), PLAIN),
    "compound": (lambda f: f.create_dataset("params/x", data=np.zeros(2, "f4,f4")), PLAIN),
    "enum": (lambda f: f.create_dataset("params/x", (2,), h5py.enum_dtype({"A": 0})), PLAIN),
    "complex": (lambda f: f.create_dataset("params/x", data=np.zeros(2, complex)), PLAIN),
    "named_type": (lambda f: f.__setitem__("params/x", np.dtype("f4")), PLAIN),
    "empty": (lambda f: f.create_dataset("params/x", data=h5py.Empty("f4")), "^"),
    "chunks": (lambda f: f.create_dataset("params/x", data=np.zeros(9), chunks=(3,)), PLAIN),
    "gzip": (lambda f: f.create_dataset("params/x", data=np.zeros(9), compression="gzip"), PLAIN),
    "checksum": (lambda f: f.create_dataset("params/x", data=np.zeros(9), fletcher32=True), PLAIN),
    "never_written": (never_written, PLAIN),
    "compact": (compact, PLAIN),
    "nan": (lambda f: f.create_dataset("params/x", data=[0.0, np.nan]), "array params/x: a number is not finite"),
    "infinity": (lambda f: f.create_dataset("params/x", data=[-np.inf]), "array params/x: a number is not finite"),
    "deep": (lambda f: f.create_group("params/" + "g/" * 3000), "too many or too deeply"),
    "many": (lambda f: [f.create_group(f"params/g{i}") for i in range(MAX_OBJECTS + 9)], "too many or too deeply"),
    "other_group": (lambda f: f.create_dataset("other/x", data=[1.0]), "unknown .other."),
    "array_beside_meta": (lambda f: f.create_dataset("other", data=[1.0]), "other"),
    "line_end_in_a_name": (lambda f: f.__setitem__("params/x\n\x1b[2J", h5py.SoftLink("/no")), "x"),
    "no_meta": (lambda f: f.__delitem__("meta"), "meta: expected a string, got nothing"),
    "meta_of_floats": (lambda f: replace(f, "meta", data=[1.0]), "meta: expected a string, got float64"),
    "two_metas": (lambda f: replace(f, "meta", data=np.array([b"{}", b"{}"])), "not readable as a checkpoint"),
    "meta_of_bytes": (lambda f: replace(f, "meta", data=np.bytes_(b"\xff\xfe")), "not readable as a checkpoint"),
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
    assert re.search(expected, refusal(path))


def test_an_image_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    for image in (b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)):
        path.write_bytes(sealed(image))
        assert refusal(path).startswith("not readable as a checkpoint: ")


def test_a_file_above_the_maximum_size_is_refused(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEAL", dataclasses.replace(SEAL, max_bytes=100))
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    assert refusal(path).startswith("damaged") or "at most" in refusal(path)


def test_a_file_from_before_attention_has_no_regions() -> None:
    values = dataclasses.asdict(META)
    assert values.pop("region_dim") == 0
    assert Meta.from_json(json.dumps(values)) == META


GOOD = vars(META)
WRONG_META: dict[str, tuple[object, str]] = {
    "list": ([], "expected the fields best, config"),
    "missing": ({name: value for name, value in GOOD.items() if name != "step"}, "missing or unknown: step"),
    "unknown": ({**GOOD, "more": 1}, "missing or unknown: more"),
    "config": ({**GOOD, "config": 1}, "config"),
    "environment": ({**GOOD, "environment": ["numpy"]}, "environment"),
    "environment_of_numbers": ({**GOOD, "environment": {"threads": 2}}, "environment"),
    "environment_with_an_escape_sequence": ({**GOOD, "environment": {"blas": "\x1b[2J"}}, "environment"),
    "step_text": ({**GOOD, "step": "7"}, "step"),
    "step_bool": ({**GOOD, "step": True}, "step"),
    "step_float": ({**GOOD, "step": 7.0}, "step"),
    "step_below_0": ({**GOOD, "step": -1}, "step"),
    "since_best_below_0": ({**GOOD, "since_best": -1}, "since_best"),
    "width_0": ({**GOOD, "feature_dim": 0}, "feature_dim"),
    "words": ({**GOOD, "words": "a b"}, "words"),
    "a_word": ({**GOOD, "words": ["a", 1]}, "words"),
    "probe": ({**GOOD, "probe": ["x"]}, "probe"),
    "probe_nan": ({**GOOD, "probe": [float("nan")]}, "probe"),
    "best_list": ({**GOOD, "best": [1]}, "best"),
    "best_without_loss": ({**GOOD, "best": {"step": 1, "epoch": 1}}, "best"),
    "best_loss_text": ({**GOOD, "best": {"step": 1, "epoch": 1, "loss": "low"}}, "best"),
    "best_loss_nan": ({**GOOD, "best": {"step": 1, "epoch": 1, "loss": float("nan")}}, "best"),
}


@pytest.mark.parametrize("name", WRONG_META)
def test_a_wrong_meta_is_refused_with_its_field(name: str, tmp_path: Path) -> None:
    values, field = WRONG_META[name]
    path = tmp_path / "last.h5"
    text = np.bytes_(json.dumps(values).encode())
    path.write_bytes(sealed(image_of(lambda file: replace(file, "meta", data=text))))
    assert field in refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"step": 1e999}'])
def test_a_meta_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(sealed(image_of(lambda file: replace(file, "meta", data=np.bytes_(text.encode() or b" ")))))
    refusal(path)


# --- writing


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
