"""Saved files of all kinds: what is written is read; damaged and hostile files are refused; writing keeps the old file.

`faults/` damages more files."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captioner import arrays as blocks_module
from captioner.data.features import SelectedFeatures
from captioner.errors import CaptionerError, CheckpointError, DataError
from captioner.files import saved as module
from captioner.files.hdf5 import MAX_OBJECTS
from captioner.files.saved import DATA_SET, MODEL, SIZE, Kind, open_saved, write

RNG = np.random.default_rng(0)
KINDS = {kind.name: kind for kind in (MODEL, DATA_SET)}
META = {"encoder": "drawn", "words": ["café", "猫"], "step": 7}
ARRAYS: dict[str, np.ndarray] = {
    "params/W": RNG.standard_normal((30, 4)).astype(np.float32),
    "params/b": RNG.standard_normal(5),
    "slots/v/W": RNG.standard_normal((30, 4)).astype(np.float16),
    "train/features": RNG.standard_normal((6, 3)).astype(np.float32),
    "train/regions": RNG.standard_normal((6, 2, 2, 3)).astype(np.float32),
    "words": np.arange(6, dtype=np.int32),
    "texts": np.array([text.encode() for text in ("a", "", "café", "猫")]),
    "temperature": np.array(-0.0),
}


def contents(kind: Kind, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return all arrays and the metadata of a file."""
    with open_saved(kind, path) as saved:
        return {name: saved.read(name, "fiuS") for name in saved}, saved.meta


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()


def refusal(kind: Kind, path: Path) -> str:
    """Return the error of a file that must be refused without the file name; it is one printable line."""
    with pytest.raises(kind.error) as caught:
        contents(kind, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def behind_header(kind: Kind, content: bytes) -> bytes:
    """Return content with a header that matches it, as a hostile writer can make one."""
    return kind.header(len(content), hashlib.sha256(content).hexdigest()) + content


def hostile(kind: Kind, change: Callable[[h5py.File], object], whole: bytes = b"") -> bytes:
    """Return a changed file, by default one with `meta` and one array, behind a valid header."""
    content = io.BytesIO(whole[SIZE:])
    with h5py.File(content, "r+" if whole else "w", libver="latest") as file:
        if not whole:
            file["meta"] = np.bytes_(b"{}")
            file["params/b"] = ARRAYS["params/b"]
        change(file)
    return behind_header(kind, content.getvalue())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A valid file of each kind."""
    path = tmp_path_factory.mktemp("files") / "a.h5"
    whole = {}
    for name, kind in KINDS.items():
        write(kind, path, ARRAYS, META)
        whole[name] = path.read_bytes()
    return whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


# --- what is written is read


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_arrays_and_meta_are_read_as_written(kind: Kind, files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files[kind.name])
    arrays, meta = contents(kind, path)
    assert_same(arrays, ARRAYS)
    rows = {name: hashlib.sha256(ARRAYS[name].tobytes()).hexdigest() for name in ("train/features", "train/regions")}
    assert meta == {**META, **({"digests": rows} if kind is DATA_SET else {})}


@given(
    arrays=st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6).filter(
            lambda name: name not in (".", "meta")
        ),
        hnp.arrays(st.sampled_from(["f2", "f4", "f8", "i4", "u1", "S5"]), hnp.array_shapes(min_dims=0, max_side=4)),
        max_size=4,
    ),
    meta=st.dictionaries(st.text(max_size=6), st.none() | st.integers() | st.text(max_size=9), max_size=3),
)
def test_any_arrays_and_meta(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.h5"
    anything = dataclasses.replace(MODEL, finite=False)
    write(anything, path, arrays, meta)
    read, got = contents(anything, path)
    assert_same(read, arrays)
    assert got == meta


def test_rows_are_written_block_by_block_in_native_byte_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 12)
    foreign = ARRAYS["params/W"].astype(">f4")
    rows = SelectedFeatures(foreign, np.arange(30)[::-1])
    write(DATA_SET, path, {"train/features": rows, "whole": foreign}, {})
    arrays, meta = contents(DATA_SET, path)
    assert_same(arrays, {"train/features": ARRAYS["params/W"][::-1], "whole": ARRAYS["params/W"]})
    assert meta["digests"] == {"train/features": hashlib.sha256(ARRAYS["params/W"][::-1].tobytes()).hexdigest()}


def test_equal_contents_give_equal_bytes(files: dict[str, bytes], path: Path) -> None:
    write(MODEL, path, {name: array.copy() for name, array in ARRAYS.items()}, META)
    assert path.read_bytes() == files["model"]
    assert os.listdir(path.parent) == ["a.h5"]


def test_any_hdf5_reader_opens_the_file(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["data set"])
    with h5py.File(path) as file:
        assert file.userblock_size == SIZE
        np.testing.assert_array_equal(file["params/W"], ARRAYS["params/W"])
        assert json.loads(file["meta"][()])["words"] == META["words"]


def test_rows_are_read_after_the_file_is_closed_until_they_are_deleted(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["data set"])
    before = len(os.listdir("/dev/fd"))
    with open_saved(DATA_SET, path) as saved:
        rows = saved.rows("train/features", "f", ndim=2)
    del saved
    path.unlink()
    np.testing.assert_array_equal(rows[[5, 0]], ARRAYS["train/features"][[5, 0]])
    del rows
    assert len(os.listdir("/dev/fd")) == before


def test_a_file_replaced_after_verification_is_not_read(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["data set"])
    write(DATA_SET, path.with_name("b.h5"), {"words": -ARRAYS["words"]}, {})
    with DATA_SET.verified(path) as file:
        path.with_name("b.h5").replace(path)
        saved = module.Saved(DATA_SET, path, file)
    np.testing.assert_array_equal(saved.read("words", "i"), ARRAYS["words"])


def test_an_array_of_another_type_is_refused(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["model"])
    with open_saved(MODEL, path) as saved:
        for name, numbers, ndim, expected in (
            ("words", "f", None, "expected floats, got int32 (6,)"),
            ("params/W", "f", 4, "expected floats (images, rows, columns, numbers), got float32 (30, 4)"),
            ("texts", "fiu", 1, "expected numbers (rows,), got |S5 (4,)"),
            ("no", "f", 1, "not found"),
        ):
            with pytest.raises(CheckpointError) as caught:
                saved.rows(name, numbers, ndim)
            assert str(caught.value) == f"{path}: array {name}: {expected}"


def test_what_the_caller_cannot_parse_is_an_error_with_the_file(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["model"])
    with pytest.raises(CheckpointError) as caught, open_saved(MODEL, path):
        raise MemoryError
    assert str(caught.value) == f"{path}: cannot read the model: not enough memory"
    for problem in (ValueError("two\nlines"), KeyError("a"), RecursionError()):
        with pytest.raises(CheckpointError) as caught, open_saved(MODEL, path):
            raise problem
        assert str(caught.value).startswith(f"{path}: not readable as a model: {type(problem).__name__}: ")
        assert str(caught.value).isprintable()


# --- damaged files


@given(data=st.data(), name=st.sampled_from(list(KINDS)))
def test_a_damaged_file_is_refused(
    data: st.DataObject, name: str, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(files[name])
    at = data.draw(st.integers(0, len(whole) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "extend", "swap", "other kind"])):
        case "flip":
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del whole[at:]
        case "extend":
            whole += bytes(data.draw(st.integers(1, 600)))
        case "swap":
            other = data.draw(st.integers(0, len(whole) - 1).filter(lambda place: whole[place] != whole[at]))
            whole[at], whole[other] = whole[other], whole[at]
        case _:
            whole = bytearray(files[data.draw(st.sampled_from([other for other in files if other != name]))])
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    path.write_bytes(whole)
    assert refusal(KINDS[name], path)


# --- hostile files: a valid header, and anything after it


def replace_meta(value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["meta"]
        if value is not None:
            file["meta"] = value

    return change


LINK = "expected data in this file, got a soft or external link"
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "link_to_a_group": (lambda f: f.__setitem__("x", h5py.SoftLink("/params")), LINK),
    "two_names": (lambda f: f.__setitem__("params/x", f["params/b"]), "the same object has two names"),
    "root_again": (lambda f: f.__setitem__("x", f["/"]), "too many or too deeply|the same object has two names"),
    "gzip": (lambda f: f.create_dataset("params/x", data=np.zeros(9), compression="gzip"), "expected contiguous"),
    "nan": (lambda f: f.create_dataset("params/x", data=[0.0, np.nan]), "array params/x: a number is not finite"),
    "deep": (lambda f: f.create_group("params/" + "g/" * 3000), "too many or too deeply"),
    "many": (lambda f: [f.create_group(f"params/g{i}") for i in range(MAX_OBJECTS + 9)], "too many or too deeply"),
    "line_end_in_a_name": (lambda f: f.__setitem__("params/x\n\x1b[2J", h5py.SoftLink("/no")), "x"),
    "no_meta": (replace_meta(None), "array meta: not found"),
    "meta_of_floats": (replace_meta([1.0]), r"array meta: expected fixed-length strings \(\), got float64 \(1,\)"),
    "meta_nested": (replace_meta(np.bytes_(b"[" * 100_000)), "meta: invalid JSON: maximum recursion"),
    "meta_list": (replace_meta(np.bytes_(b"[]")), r"meta: expected a JSON object, got '\[\]'"),
}  # fmt: skip


def test_the_unchanged_file_is_valid(path: Path) -> None:
    path.write_bytes(hostile(MODEL, lambda file: None))
    assert contents(MODEL, path)[0].keys() == {"params/b"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, path: Path) -> None:
    change, expected = HOSTILE[name]
    path.write_bytes(hostile(MODEL, change))
    assert re.search(expected, refusal(MODEL, path)), refusal(MODEL, path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)])
def test_content_that_is_not_hdf5_is_refused(content: bytes, path: Path) -> None:
    for kind in KINDS.values():
        path.write_bytes(behind_header(kind, content))
        assert re.match("expected an HDF5 file, got|cannot be read", refusal(kind, path))


def test_arrays_in_the_same_place_are_refused(files: dict[str, bytes], path: Path) -> None:
    """Otherwise a small file could fill any memory."""
    content = hostile(MODEL, lambda f: f.update({name: np.zeros(9000) for name in "abc"}))[SIZE:]
    with h5py.File(path, "w") as file:
        file["x"] = 1
    path.write_bytes(content)
    with h5py.File(path) as file:
        offsets = [file[name].id.get_offset() for name in "abc"]
    for offset in offsets[1:]:
        content = content.replace(offset.to_bytes(8, "little"), offsets[0].to_bytes(8, "little"))
    path.write_bytes(behind_header(MODEL, content))
    assert refusal(MODEL, path)


# --- writing


def failure(kind: Kind, path: Path, arrays: dict[str, Any], meta: dict[str, Any] = META) -> str:
    """Return the error of a write, which keeps the old file and leaves no other."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(CaptionerError) as caught:
        write(kind, path, arrays, meta)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not [name for name in os.listdir(path.parent) if name.endswith(".tmp")]
    assert str(caught.value).isprintable()
    assert ".tmp" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("most", [0, 600, 5_000, 40_000, 200_000])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_full_disk_keeps_the_old_file(
    kind: Kind, most: int, files: dict[str, bytes], path: Path, files_of_at_most: Callable[[int], Any]
) -> None:
    path.write_bytes(files[kind.name])
    larger = {"train/features": np.ones((100, 1000)), "words": np.zeros(9)}
    with files_of_at_most(most):
        message = failure(kind, path, larger)
    assert message == f"{path}: cannot write the {kind.name}: File too large; the previous one is kept"
    write(kind, path, larger, META)  # nothing of the failure is left in the HDF5 library
    assert_same(contents(kind, path)[0], larger)


def test_a_number_that_is_not_finite_is_not_saved(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["model"])
    message = failure(MODEL, path, {"params/W": np.array([1.0, np.nan])})
    assert message == f"{path}: array params/W: not saved, since a number is not finite"


class Unreadable:
    """Features whose rows cannot be read."""

    shape, dtype = (1, 3), np.dtype(np.float32)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        raise DataError("row 0: cannot be read")


def test_unreadable_rows_keep_the_old_file(files: dict[str, bytes], path: Path) -> None:
    path.write_bytes(files["data set"])
    message = failure(DATA_SET, path, {"train/features": Unreadable()})
    assert message == "row 0: cannot be read"


# --- reading back


def storing(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Return a damage that stores another array than the one written, or none."""

    def damage(path: Path) -> None:
        with h5py.File(path, "r+", locking=False) as stored:
            changed = change(stored[name][()])
            del stored[name]
            if changed is not None:
                stored[name] = changed

    return damage


def one_more(array: np.ndarray) -> np.ndarray:
    array.flat[-1] += 1
    return array


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["params/W"].tobytes())] ^= 1
    path.write_bytes(content)


UNREADABLE = "cannot be read|expected an HDF5 file"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (storing("words", lambda array: None), "array words: missing"),
    "not expected": (
        lambda path: h5py.File(path, "r+", locking=False).create_dataset("x", data=1.0), "array x: not expected"
    ),
    "another type": (storing("words", lambda array: array.astype("i8")), r"array words: expected int32 \(6,\)"),
    "another shape": (storing("params/W", lambda array: array[:, 1:]), "array params/W: expected float32 "),
    "another number": (storing("train/features", one_more), "array train/features: the numbers differ"),
    "sign of a zero": (storing("temperature", lambda array: -array), "array temperature: the numbers differ"),
    "another meta": (storing("meta", lambda array: np.char.replace(array, b"7", b"8")), "meta differs"),
    "a flipped bit": (flip, "array params/W: the numbers differ"),
    "a cut": (lambda path: os.truncate(path, path.stat().st_size - 100), UNREADABLE),
    "no content": (lambda path: os.truncate(path, SIZE), UNREADABLE),
    "nothing": (lambda path: os.truncate(path, 0), UNREADABLE),
    "no superblock": (lambda path: path.write_bytes(path.read_bytes().replace(b"\x89HDF", bytes(4))), UNREADABLE),
}  # fmt: skip


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_that_reads_back_otherwise_never_replaces_the_one_before(
    name: str, before: bool, files: dict[str, bytes], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, difference = DAMAGE[name]
    real = module._write_content
    if before:
        path.write_bytes(files["model"])

    def damaged(kind: Kind, path: Path, temporary: Path, *what: Any) -> str:
        text = real(kind, path, temporary, *what)
        damage(temporary)
        return text

    monkeypatch.setattr(module, "_write_content", damaged)
    message = failure(MODEL, path, ARRAYS)
    assert re.match(rf"{path}: the new model does not read back as written: ({difference})", message), message
    kept = "the previous model is kept" if before else "there is no previous model"
    assert f"; {kept}; try another version of h5py (this is {h5py.__version__}), or check" in message


KIND = Kind("thing", 3, "a test", DataError, "use another thing")
OTHER = replace(KIND, name="other thing")
CONTENT = bytes(range(200))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHOLE = KIND.header(len(CONTENT), DIGEST) + CONTENT


def error_of(path: Path, kind: Kind = KIND) -> str:
    with pytest.raises(kind.error) as caught, kind.verified(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


@given(length=st.integers(0, 10**18 - 1), version=st.integers(0, 10**9 - 1))
def test_a_header_has_a_fixed_size(length: int, version: int) -> None:
    header = replace(KIND, version=version).header(length, DIGEST)
    assert len(header) == SIZE
    assert header.rstrip(b"\0").decode() == f"captioner thing {version} {length} {DIGEST}\n"


def test_every_byte_of_a_header_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE)
    with open(path, "r+b", buffering=0) as file:
        for at in range(SIZE):
            for byte in {0, 10, ord("0"), ord("f"), WHOLE[at] ^ 1} - {WHOLE[at]}:
                os.pwrite(file.fileno(), bytes((byte,)), at)
                with contextlib.suppress(DataError), KIND.verified(path):
                    pytest.fail(f"byte {at}: {byte} instead of {WHOLE[at]} is accepted")
            os.pwrite(file.fileno(), WHOLE[at : at + 1], at)


NOT_ONE = "not a captioner thing, got {}; expected a file that a test wrote"
INVALID = "damaged: invalid header; use another thing"
DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", NOT_ONE.format("an empty file")),
    "a text": (b"seed: 3\n" * 100, NOT_ONE.format("a text file")),
    "another kind": (OTHER.header(len(CONTENT), DIGEST) + CONTENT, NOT_ONE.format("a file of an unknown format")),
    "a model": (
        MODEL.header(len(CONTENT), DIGEST) + CONTENT,
        NOT_ONE.format("a captioner model, for `captioner caption --model` or -o train.init_from"),
    ),
    "the magic word": (KIND.magic, INVALID),
    "half a header": (WHOLE[: SIZE - 1], INVALID),
    "a longer word": (WHOLE.replace(b"thing ", b"things "), INVALID),
    "a negative length": (KIND.header(-1, DIGEST) + CONTENT, INVALID),
    "capitals": (KIND.header(200, DIGEST.upper()) + CONTENT, INVALID),
    "a later version": (
        replace(KIND, version=4).header(200, DIGEST) + CONTENT,
        "expected thing version 3, got 4; use the version of captioner that wrote it",
    ),
    "no content": (WHOLE[:SIZE], "damaged: expected 200 bytes after the header, got 0"),
    "more": (WHOLE + b"0", "damaged: expected 200 bytes after the header, got 201"),
    "other content": (WHOLE[:-1] + b"0", "damaged: its content does not match its checksum; use another thing"),
}


@pytest.mark.parametrize(("content", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_an_invalid_file_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert error_of(path) == expected
    assert error_of(path, replace(KIND, error=CheckpointError)) == expected


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "not found; expected a thing from a test; check the name"),
    "a circle": (lambda path: path.symlink_to(path), "cannot open the thing: Too many levels of symbolic links"),
    "a pipe": (lambda path: os.mkfifo(path), "expected a thing file, got a named pipe"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), PLACES.values(), ids=PLACES)
def test_a_path_without_a_regular_file_is_refused(
    make: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    make(path)
    assert error_of(path) == expected
    assert not KIND.matches(path)


def test_the_kind_is_detected_by_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (WHOLE, KIND.magic):
        path.write_bytes(content)
        assert KIND.matches(path)
        assert KIND.matches(str(path))
    for content in (KIND.magic[:-1], OTHER.magic, b""):
        path.write_bytes(content)
        assert not KIND.matches(path)
