"""A data set that does not read back as it was written never replaces the one before."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from sealed_sets import ABOUT, MODULE, WHOLE

from captioner.data.corpus import Features
from captioner.data.prepared import VerifyingWriter, write_prepared
from captioner.errors import DataError
from captioner.storage.sealed import SIZE


def changing(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> type[VerifyingWriter]:
    """A writer that stores another array than it is given, or none."""

    class Faulty(VerifyingWriter):
        def add(self, added: str, array: np.ndarray) -> None:
            super().add(added, array)
            self._change(added)

        def add_rows(self, added: str, features: Features) -> None:
            super().add_rows(added, features)
            self._change(added)

        def _change(self, added: str) -> None:
            if added == name:
                changed = change(self._file[name][()])
                del self._file[name]
                if changed is not None:
                    self._file[name] = changed

    return Faulty


def one_more(array: np.ndarray) -> np.ndarray:
    array.flat[-1] += 1
    return array


FAULTY: dict[str, tuple[type[VerifyingWriter], str]] = {
    "no texts": (changing("train/texts", lambda array: None), "dataset 'train/texts': dataset not found"),
    "another type": (
        changing("train/captions", lambda array: array.astype("i8")), "dataset 'train/captions': expected int32 "
    ),
    "another shape": (changing("train/features", lambda array: array[:, 1:]), "dataset 'train/features': expected "),
    "another caption": (changing("train/captions", one_more), "dataset 'train/captions': content differs"),
    "another feature": (changing("val/features", one_more), "dataset 'val/features': content differs"),
    "another meta": (
        changing("meta", lambda array: np.char.upper(array)), "dataset 'meta': content differs"
    ),
}  # fmt: skip


def refusal(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        write_prepared(path, WHOLE, ABOUT)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    message = str(caught.value)
    assert message.isprintable()
    assert ".tmp" not in message
    assert f"; the previous data set is kept; try another version of h5py (this is {h5py.__version__})" in message
    return message.removeprefix(f"{path}: the new data set does not read back as written: ")


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    (tmp_path / "a.h5").write_bytes(whole)
    return tmp_path / "a.h5"


@pytest.mark.parametrize("name", FAULTY)
def test_a_differing_array_is_reported(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, difference = FAULTY[name]
    monkeypatch.setattr(MODULE, "VerifyingWriter", writer)
    assert refusal(path).startswith(difference)


def cut(file: io.FileIO) -> None:
    file.truncate(file.seek(0, os.SEEK_END) - 100)


def flip(file: io.FileIO) -> None:
    content = WHOLE.split("val").features[:].tobytes()
    file.seek(0)
    at = file.readall().index(content)
    file.seek(at)
    file.write(bytes([content[0] ^ 1]))


def clear(file: io.FileIO) -> None:
    file.truncate(SIZE)


@pytest.mark.parametrize(("damage", "message"), [(cut, ""), (flip, "dataset 'val/features': content"), (clear, "")])
@pytest.mark.parametrize("when", ["before it is sealed", "after"])
def test_file_damage_is_detected(
    damage: Callable[[io.FileIO], None], message: str, when: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MODULE._seal

    def seal(file: io.FileIO) -> None:
        if when == "after":
            real(file)
        damage(file)
        if when != "after":
            real(file)

    monkeypatch.setattr(MODULE, "_seal", seal)
    assert refusal(path).startswith(message if when != "after" else "damaged: ")
