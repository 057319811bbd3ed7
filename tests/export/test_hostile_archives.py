"""Every damaged or hostile npz archive is reported in one clear line, and nothing is written."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensor_errors import error_of


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, text in members.items():
            file.writestr(name, text)


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BILLION = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}\n"
OBJECTS = npy(np.array([{}], object), allow_pickle=True)
MEMBERS: list[tuple[dict[str, bytes], int, str]] = [
    ({"captioner.npy": npy(np.zeros(1 << 22, np.uint8))}, zipfile.ZIP_DEFLATED, "expected an uncompressed array"),
    ({"a.npy": OBJECTS}, zipfile.ZIP_STORED, "expected an array of floats, got object"),
    ({"a.npy": npy(np.zeros(2, complex))}, zipfile.ZIP_STORED, "expected an array of floats, got complex128"),
    ({"a.npy": header(BILLION)}, zipfile.ZIP_STORED, "expected 4,000,000,000,000,000,000 bytes"),
    ({"a.npy": header(BILLION.replace("(1", "(-1"))}, zipfile.ZIP_STORED, "bytes"),
    ({"a.npy": header("__import__('os')")}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": header("{'descr': '<f4', 'shape': (")}, zipfile.ZIP_STORED, "damaged header: TokenError"),
    ({"a.npy": header(BILLION.replace("'<f4'", "()"))}, zipfile.ZIP_STORED, "damaged header: IndexError"),
    ({"a.npy": header("{[]: 1}")}, zipfile.ZIP_STORED, "damaged header: TypeError"),
    ({"a.npy": b"text"}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": b""}, zipfile.ZIP_STORED, "damaged"),
    ({"a.npy": npy(np.zeros(3)), "a": npy(np.zeros(3))}, zipfile.ZIP_STORED, "one array of each name"),
    ({f"{i}.npy": npy(np.zeros(1)) for i in range(101)}, zipfile.ZIP_STORED, "at most 100 arrays, got 101"),
    ({"captioner.npy": npy(np.zeros(3))}, zipfile.ZIP_STORED, "bytes of JSON as uint8"),
]


@pytest.mark.parametrize(("members", "compression", "expected"), MEMBERS, ids=[row[2] for row in MEMBERS])
def test_hostile_archives(members: dict[str, bytes], compression: int, expected: str, tmp_path: Path) -> None:
    archive(tmp_path / "a.npz", members, compression)
    assert expected in error_of(tmp_path / "a.npz")


def test_overlapping_members(tmp_path: Path) -> None:
    """Many entries of the directory point to one member, which is a bomb without compression."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.npy", npy(np.zeros(10_000)))
        (first,) = file.infolist()
        for number in range(1, 60):
            other = zipfile.ZipInfo(f"{number}.npy")
            for name in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(other, name, getattr(first, name))
            file.filelist.append(other)
    assert "the size of the file" in error_of(path)


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy(np.zeros(3))})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "damaged" in error_of(path)
