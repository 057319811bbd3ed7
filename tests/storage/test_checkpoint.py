"""Checkpoints round-trip; a failed write keeps the old file; damaged and other files are refused."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoints import META, PARAMS, WHOLE, error_of, image_of, replace, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError
from captioner.storage import checkpoint, sealed_arrays
from captioner.storage.checkpoint import Base, Card, Checkpoint, Meta, load, save
from captioner.storage.sealed import MODEL_SEAL, SIZE


def assert_same(saved: Checkpoint, other: Checkpoint) -> None:
    assert saved.meta == other.meta
    assert saved.groups().keys() == other.groups().keys()
    for group, arrays in saved.groups().items():
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


def test_a_full_disk_keeps_the_old_checkpoint(
    whole: bytes, tmp_path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    larger = Checkpoint(META, {"w": np.ones(100_000)}, {}, {})
    with files_of_at_most(50_000), pytest.raises(CheckpointError) as caught:
        save(path, larger)
    assert str(caught.value) == f"{path}: cannot write the model: File too large; the previous one is kept"
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["last.h5"]


def test_saving_to_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent/last.h5: cannot write the model: No such file"):
        save(tmp_path / "absent" / "last.h5", WHOLE)


def test_a_parameter_that_is_not_finite_is_not_saved(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"array params/W: .*not finite"):
        save(path, Checkpoint(META, {"W": np.array([1.0, np.nan])}, {}, {}))
    assert path.read_bytes() == whole


def test_a_card_is_read_as_it_was_written() -> None:
    card = Card(license="mit", scores=[{"split": "val"}], base=[Base("birds.h5", "other", "for research")])
    values = {**dataclasses.asdict(META), "card": dataclasses.asdict(card)}
    assert Meta.from_json(json.dumps(values)).card == card
    assert card.as_base(Path("models/cats.h5")) == [Base("cats.h5", "mit", ""), *card.base]


GOOD = dataclasses.asdict(META)
WRONG_META: dict[str, tuple[object, str]] = {
    "list": ([], "expected the fields best, card, config"),
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
    "step_beyond_64_bits": ({**GOOD, "step": 10**30}, "step"),
    "fingerprint_of_two_lines": ({**GOOD, "fingerprint": "a\nb"}, "fingerprint"),
    "card": ({**GOOD, "card": []}, "card"),
    "card_of_two_lines": ({**GOOD, "card": {"terms": "two\nlines"}}, "card: "),
    "card_license": ({**GOOD, "card": {"license": 1}}, "card: "),
    "card_base": ({**GOOD, "card": {"base": {}}}, "card: base, scores: "),
    "card_scores": ({**GOOD, "card": {"scores": ["x"]}}, "card: base, scores: "),
    "since_best_below_0": ({**GOOD, "since_best": -1}, "since_best"),
    "width_0": ({**GOOD, "feature_dim": 0}, "feature_dim"),
    "grid_of_one_number": ({**GOOD, "grid": [3]}, "grid"),
    "grid_below_1": ({**GOOD, "grid": [3, 0]}, "grid"),
    "grid_of_texts": ({**GOOD, "grid": ["3", "3"]}, "grid"),
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
    assert field in error_of(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"step": 1e999}'])
def test_a_meta_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "last.h5"
    path.write_bytes(sealed(image_of(lambda file: replace(file, "meta", data=np.bytes_(text.encode() or b" ")))))
    error_of(path)


Write = Callable[..., object]
"""A function of a path, arrays by name, and the text of `meta`."""
REAL = sealed_arrays._write


def faulty(change: Callable[[bytearray], object]) -> Write:
    """Return a writer that changes the payload before it is sealed."""

    def write(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
        REAL(path, arrays, meta)
        payload = bytearray(path.read_bytes()[SIZE:])
        change(payload)
        path.write_bytes(bytes(SIZE) + payload)

    return write


def writing(other: dict[str, np.ndarray | None]) -> Write:
    """Return a writer that replaces arrays; None removes one."""

    def write(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
        changed = {**arrays, **other}
        REAL(path, {name: array for name, array in changed.items() if array is not None}, meta)

    return write


def another_step(path: Path, arrays: dict[str, np.ndarray], meta: str) -> None:
    REAL(path, arrays, meta.replace('"step": 7', '"step": 8'))


def flip(payload: bytearray) -> None:
    at = payload.index(PARAMS["W_proj"].tobytes())
    payload[at] ^= 1


OTHER = "array params/W_proj: expected float32 (3, 4), got"
FAULTY: dict[str, tuple[Write, str]] = {
    "missing array": (writing({"params/W_proj": None}), "array params/W_proj: missing"),
    "missing slot": (writing({f"slots/m/{name}": None for name in PARAMS}), "array slots/m/W_proj: missing"),
    "extra array": (writing({"params/x": np.ones(2)}), "array params/x: not expected"),
    "wrong dtype": (writing({"params/W_proj": PARAMS["W_proj"].astype(np.float64)}), f"{OTHER} float64 (3, 4)"),
    "wrong shape": (writing({"params/W_proj": PARAMS["W_proj"].T.copy()}), f"{OTHER} float32 (4, 3)"),
    "flipped bit": (faulty(flip), "array params/W_proj: the numbers differ"),
    "sign of a zero": (
        writing({"standardizer/mean": -WHOLE.standardizer["mean"]}), "array standardizer/mean: the numbers differ"
    ),
    "truncated": (faulty(lambda payload: payload.__delitem__(slice(-200, None))), "not readable as a model: "),
    "empty": (faulty(bytearray.clear), "not readable as a model: "),
    "no superblock": (faulty(lambda data: data.__setitem__(slice(8), bytes(8))), "not readable as a model: "),
    "wrong step": (another_step, "meta differs"),
    "no HDF5": (lambda path, *_: path.write_bytes(bytes(2000)), "not readable as a model: "),
    "not written": (lambda path, *_: path.touch(), "not readable as a model: "),
}  # fmt: skip


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", FAULTY)
def test_a_checkpoint_that_reads_back_differently_does_not_replace_the_old_one(
    name: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, difference = FAULTY[name]
    path = tmp_path / "last.h5"
    save(path, WHOLE)
    whole = path.read_bytes()
    if not before:
        path.unlink()
    monkeypatch.setattr(sealed_arrays, "_write", write)
    with pytest.raises(CheckpointError) as caught:
        save(path, WHOLE)
    message = str(caught.value)
    assert message.startswith(f"{path}: the new model does not read back as written: {difference}")
    kept = "the previous model is kept" if before else "there is no previous model"
    assert f"; {kept}; try another version of h5py (this is {h5py.__version__}), or check" in message
    assert message.isprintable()
    assert ".tmp" not in message
    assert os.listdir(tmp_path) == (["last.h5"] if before else [])
    assert not before or path.read_bytes() == whole


def test_a_checkpoint_above_the_maximum_size_is_not_saved(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.h5"
    monkeypatch.setattr(checkpoint, "MODEL_SEAL", dataclasses.replace(MODEL_SEAL, max_bytes=100))
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="does not read back as written: expected at most 100 bytes"):
        save(path, WHOLE)
    assert path.read_bytes() == whole


def save_damaged(path: Path) -> None:
    save(path, WHOLE)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


OTHER_KIND = "not a captioner model; expected a file that `captioner train` or `export` wrote"
NOT_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda path: None,
        "not found; expected a model from `captioner train` or `export`; check the name",
    ),
    "dangling": (
        lambda path: path.symlink_to("nowhere"),
        "not found; expected a model from `captioner train` or `export`; it is a broken link to nowhere",
    ),
    "damaged": (save_damaged, "damaged: its content does not match its seal; use another model"),
    "hdf5": (lambda path: h5py.File(path, "w").close(), OTHER_KIND),
    "pickle": (lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR."), OTHER_KIND),
    "below_a_file": (
        lambda path: path.parent.rmdir() or path.parent.touch(),
        "cannot open the model: Not a directory",
    ),
}


@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_a_file_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "last.h5"
    path.parent.mkdir()
    make, expected = NOT_CHECKPOINTS[kind]
    make(path)
    assert error_of(path) == expected
