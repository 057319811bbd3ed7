"""Damaged or malicious files of others without a seal: features, the CS231n assignment's data folder, safetensors.

A changed number cannot be detected. A crash, a hang, a traceback, or a number that is not in the file is a failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from captioner.data.cs231n import CAPTIONS, VOCAB, cs231n
from captioner.data.features import open_features
from captioner.errors import CaptionerError, DataError
from faults import hostile
from faults.hostile import Change
from faults.materials import mutated
from faults.session import Figure, Row, Session
from faults.watch import Outcome, classify

LIBVERS = ("earliest", "latest")
"""The older format has no metadata checksums."""
LAYOUTS: Mapping[str, dict[str, object]] = {
    "contiguous": {},
    "chunked": {"chunks": (16, 8)},
    "gzip": {"chunks": (16, 8), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (16, 8), "compression": "lzf"},
}
CHANGES: Mapping[str, Change] = {
    **{name: change for name, change in hostile.ANY.items() if name not in ("another shape", "a bomb of gzip")},
    **{name: change for name, change in hostile.FLOATS.items() if name != "not finite"},
}
"""Changes to a feature file that must be refused. Any shape is allowed, and values are checked later."""
VICTIM = b"\x00\x00\x80\x3f" * 65_536


def write_features(path: Path, layout: str, libver: str, rows: int = 64) -> Path:
    with h5py.File(path, "w", libver=libver) as file:
        data = np.random.default_rng(0).standard_normal((rows, 32)).astype("f4")
        file.create_dataset("features", data=data, **LAYOUTS[layout])
    return path


def write_folder(folder: Path, libver: str) -> Path:
    """Write a data set in the assignment's layout."""
    folder.mkdir()
    (folder / VOCAB).write_text('{"idx_to_word": ["<NULL>", "<START>", "<END>", "<UNK>", "a", "cat"]}')
    with h5py.File(folder / CAPTIONS, "w", libver=libver) as file:
        for split in ("train", "val"):
            file[f"{split}_captions"] = np.array([[1, 4, 5, 2], [1, 5, 2, 0]] * 32, "i4")
            file[f"{split}_image_idxs"] = np.arange(64, dtype="i4")
            write_features(folder / f"{split}2014_vgg16_fc7_pca.h5", "contiguous", libver)
    return folder


def read_all(path: Path, memory_mib: int) -> bytes:
    features = open_features(path, memory_mib=memory_mib)
    return features[:].tobytes() + features[np.arange(features.shape[0])[::3]].tobytes()


def read_hostile(folder: Path, seed: int, number: int) -> Outcome:
    """Trial k replaces the features array with malicious content."""
    rng = np.random.default_rng((seed, number, 2))
    name, libver = list(CHANGES)[number % len(CHANGES)], LIBVERS[number // len(CHANGES) % 2]
    whole = write_features(folder / f"whole-{os.getpid()}.h5", "contiguous", libver)
    victim, path = (folder / f"{what}-{os.getpid()}" for what in ("victim", "hostile"))
    victim.write_bytes(VICTIM)
    path.write_bytes(hostile.apply(whole.read_bytes(), CHANGES[name], rng, str(victim), libver=libver))
    outcome = classify(lambda: read_all(path, 64), lambda value: False, DataError)
    if victim.read_bytes() != VICTIM:
        return Outcome("wrong", f"{name}: the victim was written")
    return outcome._replace(note=f"{name}, {libver}: {outcome.note}")


def read_noise(folder: Path, seed: int, number: int) -> Outcome:
    """Trial k damages a file, mostly in its HDF5 structure, and reads all of it."""
    rng = np.random.default_rng((seed, number, 3))
    layout, libver = list(LAYOUTS)[number % len(LAYOUTS)], LIBVERS[number // len(LAYOUTS) % 2]
    whole = write_features(folder / f"whole-{os.getpid()}.h5", layout, libver).read_bytes()
    path = folder / f"noise-{os.getpid()}.h5"
    path.write_bytes(mutated(whole, rng))
    return classify(lambda: read_all(path, 64), lambda value: True, DataError)._replace(note=f"{layout}, {libver}")


def read_folder(scratch: Path, seed: int, number: int) -> Outcome:
    """Trial k damages one file of the assignment's folder, and reads the folder."""
    rng = np.random.default_rng((seed, number, 4))
    folder = scratch / f"cs231n-{os.getpid()}-{number % 2}"
    if not folder.exists():
        write_folder(folder, LIBVERS[number % 2])
    files = sorted(folder.iterdir())
    chosen = files[int(rng.integers(len(files)))]
    whole = chosen.read_bytes()
    chosen.write_bytes(mutated(whole, rng))
    try:
        return classify(lambda: cs231n(folder, memory_mib=64), lambda value: True, CaptionerError)
    finally:
        chosen.write_bytes(whole)


def read_overwritten(folder: Path, seed: int, number: int) -> Outcome:
    """Trial k overwrites part of an open feature file, then reads from it."""
    rng = np.random.default_rng((seed, number, 7))
    layout = list(LAYOUTS)[number % len(LAYOUTS)]
    path = write_features(folder / f"open-{os.getpid()}.h5", layout, "latest", rows=20_000)
    features = open_features(path, memory_mib=1)
    before = features[:100].tobytes()
    time.sleep(0.01)  # longer than the resolution of file timestamps
    with open(path, "r+b") as file:
        file.seek(int(rng.integers(path.stat().st_size - 4096)))
        file.write(rng.bytes(4096))
    return classify(lambda: features[:100], lambda value: value.tobytes() == before, DataError)


def seconds_for_groups(folder: Path, groups: int) -> float:
    """Measure the CPU seconds to report missing features in a file with `groups` flat and `groups` nested groups."""
    path = folder / f"groups-{groups}.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for index in range(groups):
            file.create_group(f"g{index}")
        file.create_group("/".join("n" * groups))
    started = time.process_time()
    for name in ("features", "/".join("n" * groups) + "/features"):
        try:
            open_features(path, name)
        except DataError:
            continue
    return time.process_time() - started


def measure(session: Session) -> Iterator[Row | Figure]:
    folder = session.folder("users")
    refused, no_crash = "refused with a one-line error", "no crash, hang or traceback"
    unusual = "users' HDF5 files with links, external storage, unknown filters or unsupported types"
    for fault, must, trial, full in (
        (unusual, refused, read_hostile, 2_000),
        ("users' HDF5 files with a damaged structure", no_crash, read_noise, 8_000),
        ("CS231n's folder with a file damaged", no_crash, read_folder, 2_000),
        ("an open feature file is overwritten", f"{refused}, or the same numbers", read_overwritten, 500),
    ):
        least = len(CHANGES) if trial is read_hostile else 1
        yield session.run(fault, must, partial(trial, folder, session.seed), full, least)
    few, many = (min(seconds_for_groups(folder, count) for _ in range(3)) for count in (1_000, 4_000))
    what = "time to check a users' HDF5 file with 4,000 groups / with 1,000"
    yield {"what": what, "got": round(many / few, 2), "most": 8.0, "unit": "times"}
