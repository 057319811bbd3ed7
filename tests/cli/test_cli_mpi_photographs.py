"""captioner prepare --mpi and sample --mpi: ranks share photographs, and the output is that of one process."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mpi_runs import CAPTIONER, command, mpiexec, needs_mpiexec

pytestmark = needs_mpiexec
COUNT = 72
"""Photographs: two blocks of 16 and some more for each of two ranks."""
PREPARE = ("prepare", "photos/captions.csv", "--encoder", "scenes", "--min-count", 1, "--val", 0.25, "--threads", 1)
SECONDS = 60
AT_PHOTOGRAPH = """
import os, resource, signal, sys, time
from captioner.errors import CaptionerError
from captioner.images.encoders import ScenesEncoder

def fail():
    raise CaptionerError("the encoder failed")

def announce():
    print("slow", flush=True)
    time.sleep(60)

def kill():
    time.sleep(1)  # rank 0 stores the block before
    os.kill(os.getpid(), signal.SIGKILL)

def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

FAULTS = {"kill": kill, "fail": fail, "slow": announce, "disk": limit}

def encode(*args):
    global count
    count += 1
    if count == at and os.environ["PMI_RANK"] == rank:
        FAULTS[what]()
    return real(*args)

what, at, rank, real, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], ScenesEncoder.encode, 0
ScenesEncoder.encode = encode
sys.argv[1:] = sys.argv[4:]
from captioner.cli import main
main()
"""
"""The command line, with a fault on one rank at one of its photographs."""
OTHER_WORDS = """
import os, sys

if os.environ["PMI_RANK"] == "1":
    sys.argv += sys.argv[1].split()
del sys.argv[1]
from captioner.cli import main
main()
"""
"""The command line, with more words on rank 1."""


CLOSED_PIPE = """
import os

read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
from captioner.cli import main
main()
"""
"""The command line, with a closed pipe as stdout."""


@pytest.fixture(autouse=True)
def _here(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a folder of photographs with captions."""
    monkeypatch.chdir(tmp_path)
    album(Path("photos"), COUNT)


def alone(*words: object, **options: Any) -> Any:
    """Run a command as one process."""
    command = [sys.executable, *CAPTIONER, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **options)


def outcome(done: Any) -> tuple[int, str, str]:
    """Return exit code, stdout, and stderr without the warning that a small machine has too few cores for the ranks."""
    lines = done.stderr.splitlines(keepends=True)
    return done.returncode, done.stdout, "".join(line for line in lines if " threads share " not in line)


def damage() -> None:
    """Break a photograph of the second block, and remove one of the third."""
    Path("photos/020.png").write_bytes(b"no photograph")
    Path("photos/035.png").unlink()


@pytest.mark.parametrize(("ranks", "more"), [(2, ()), (3, ("--regions", "--dtype", "float32"))])
def test_a_prepared_data_set_has_the_same_bytes(ranks: int, more: Sequence[str]) -> None:
    damage()
    expected = alone(*PREPARE, *more, "--output", "out.h5")
    Path("out.h5").rename("alone.h5")
    done = mpiexec(ranks, *PREPARE, *more, "--output", "out.h5", "--mpi")
    assert outcome(done) == outcome(expected)
    assert done.returncode == 1
    missing, broken = outcome(done)[2].splitlines()[:2]
    assert missing.startswith("captioner: photos/035.png: photograph not found")
    assert broken.startswith("captioner: photos/020.png: expected a photograph")
    assert Path("out.h5").read_bytes() == Path("alone.h5").read_bytes()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_leaves_no_file(rank: int) -> None:
    command = *PREPARE, "--output", "out.h5"
    before = os.listdir()
    done = mpiexec(2, "kill", 30, rank, *command, "--mpi", start=("-c", AT_PHOTOGRAPH), timeout=SECONDS)
    assert done.returncode == 9
    assert os.listdir() == before


FAILURES = {
    "a rank other than 0": (
        ("fail", 5, 1), PREPARE, 1, "captioner: rank 1: the encoder failed",
    ),
    "a full disk": (
        ("disk", 1, 0), PREPARE, 1, "captioner: out.h5: cannot store features: File too large",
    ),
    "no captions": (
        ("", 0, 0), ("prepare", "none.csv", "--threads", 1), 1, "captioner: none.csv: not found",
    ),
    "no photographs": (
        ("", 0, 0), (*PREPARE, "--images", "none"), 1,
        "captioner: none: folder not found; set the folder of the photographs with --images",
    ),
    "no encoder": (
        ("", 0, 0), (*PREPARE, "--encoder", "onnx:none.onnx"), 1, "captioner: none.onnx: not found",
    ),
    "features": (
        ("", 0, 0), (*PREPARE, "--features", "given.h5"), 2,
        "captioner: --mpi: does not apply to --features, which encodes no photographs; omit --mpi",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_one_line(what: str) -> None:
    fault, words, code, message = FAILURES[what]
    done = mpiexec(2, *fault, *words, "--output", "out.h5", "--mpi", start=("-c", AT_PHOTOGRAPH), timeout=SECONDS)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert (done.stderr.startswith(message), done.stderr.count("\n")) == (True, 1), done.stderr
    assert not Path("out.h5").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["prepare", "sample"])
def test_a_signal_stops_all_ranks(what: str, number: int, photo_run: Path) -> None:
    words = (
        (*PREPARE, "--output", "out.h5") if what == "prepare" else ("sample", photo_run, "photos", "-o", "threads=1")
    )
    start = command(2, "slow", 18, 1, *words, "--mpi", start=("-c", AT_PHOTOGRAPH))
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "slow\n":
            pass
        process.send_signal(number)
        _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    messages = [line for line in messages.splitlines() if "Ctrl-C" not in line]
    assert messages == ["", "captioner: interrupted"]


INPUTS: dict[str, Sequence[str]] = {
    "photographs": ("photos", "photos/003.png"),
    "broken photographs": ("photos", "none.png"),
    "the first": ("photos", "-n", "20", "--n-best", "2"),
    "few": ("photos/001.png", "photos/002.png"),
    "samples": ("photos", "--json", "-o", "decode.method=sampling"),
}


@pytest.mark.parametrize("what", INPUTS)
def test_captions_are_those_of_one_process(what: str, photo_run: Path) -> None:
    if what == "broken photographs":
        damage()
    words = "sample", str(photo_run), *INPUTS[what], "-o", "threads=1"
    expected = alone(*words)
    done = mpiexec(2, *words, "--mpi")
    assert outcome(done) == outcome(expected)
    assert done.returncode == (1 if what == "broken photographs" else 0)


def test_files_are_those_of_one_process(attention_run: Path) -> None:
    """The warning for a model of generated scenes is printed once."""
    words = "sample", attention_run, "photos", "--json", "-o", "threads=1", "--write", "txt"
    words = *words, "--attention", "--write", "maps.jsonl", "--write", "all.csv"
    expected, files = alone(*words), ("maps.jsonl", "all.csv", "photos")
    for name in files:
        Path(name).rename(f"alone-{name}")
    shutil.copytree("alone-photos", "photos", ignore=shutil.ignore_patterns("*.txt"))
    done = mpiexec(2, *words, "--mpi")
    assert outcome(done) == outcome(expected)
    assert done.stderr.count("was trained on generated scenes") == 1
    for name in files:
        made, others = (sorted(path for path in Path(root).rglob("*")) for root in (name, f"alone-{name}"))
        assert [path.name for path in made] == [path.name for path in others]
        pairs = zip([Path(name), *made], [Path(f"alone-{name}"), *others], strict=True)
        assert all(made.is_dir() or made.read_bytes() == other.read_bytes() for made, other in pairs)
    assert len(Path("maps.jsonl").read_text().splitlines()) == COUNT


@pytest.mark.parametrize(("words", "difference"), [("-o threads=2", "threads"), ("--n-best 3", "decoding options")])
def test_ranks_with_other_options_never_caption(words: str, difference: str, photo_run: Path) -> None:
    done = mpiexec(2, words, "sample", photo_run, "photos", "-o", "threads=1", "--mpi", start=("-c", OTHER_WORDS))
    assert (done.returncode, done.stdout) == (2, "")
    expected = f"captioner: --mpi: rank 1 differs from rank 0 in {difference}; "
    assert (done.stderr.startswith(expected), done.stderr.count("\n")) == (True, 1), done.stderr


@pytest.mark.parametrize("words", [(), ("--split", "val"), ("--features", "given.h5")])
def test_only_photographs_are_shared(words: Sequence[str], photo_run: Path) -> None:
    done = mpiexec(2, "sample", photo_run, *words, "--mpi")
    assert outcome(done) == (2, "", "captioner: --mpi shares photographs; name some, or omit --mpi\n")


def test_a_closed_pipe_ends_all_ranks(photo_run: Path) -> None:
    options = "-o", "threads=1", "-o", "decode.min_length=1"  # an empty caption would be a warning
    done = mpiexec(2, "sample", photo_run, "photos", *options, "--mpi", start=("-c", CLOSED_PIPE))
    assert outcome(done) == (0, "", "")


def test_more_threads_than_cores_are_a_warning() -> None:
    done = mpiexec(2, *PREPARE[:-1], 64, "--output", "out.h5", "--mpi")
    assert done.returncode == 0
    assert done.stderr.startswith("captioner: warning: 128 threads share ")
    assert "; try --threads " in done.stderr
