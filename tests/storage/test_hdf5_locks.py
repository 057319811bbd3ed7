"""HDF5 files that another program writes, or on file systems without locks."""

import shutil
import subprocess
import sys

import h5py
import pytest
from hdf5_files import MATRIX

from captioner.errors import DataError
from captioner.storage.hdf5 import open_dataset

STRACE = shutil.which("strace")
READ_TWICE = """
import sys
from captioner.storage.hdf5 import open_dataset

opened = [open_dataset(sys.argv[1], "x", numbers="f", ndim=2) for _ in range(2)]
print(*(stored[:].tolist() == opened[0][:].tolist() for stored in opened))
"""


@pytest.mark.skipif(STRACE is None, reason="needs strace, since HDF5 calls flock itself")
def test_a_file_on_a_file_system_without_locks_is_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    inject = [STRACE, "-f", "-o", tmp_path / "trace", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"]
    done = subprocess.run([*inject, sys.executable, "-c", READ_TWICE, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr
    assert "ENOLCK" in (tmp_path / "trace").read_text()


def test_a_file_that_another_program_writes_is_refused(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    with open(path, "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"unable to lock file.*still being written: try a new copy"):
            open_dataset(path, "x", numbers="f", ndim=2)
