"""Damaged or malicious checkpoints and prepared data sets, also with a matching digest: a seal is no signature."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from captioner.data.prepared import DATA_SET_SEAL, prepared
from captioner.errors import CaptionerError, CheckpointError, DataError
from captioner.inference.restore import restore
from captioner.storage.sealed import CHECKPOINT_SEAL, SIZE, Seal
from faults import hostile, materials
from faults.hostile import Change
from faults.materials import damaged, mutated
from faults.session import Row, Session
from faults.watch import Outcome, classify

MUST = "refused with a one-line error, or the same content"
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], str], type[CaptionerError]]] = {
    "checkpoint": (restore, materials.checkpoint_digest, CheckpointError),
    "data set": (prepared, materials.corpus_digest, DataError),
}
"""Reader, content digest and expected error type of each kind of file."""


def read_damaged(
    kind: str, whole: Path, other_files: tuple[Path, ...], expected: str, seed: int, number: int
) -> Outcome:
    """Trial k damages a file, reproducibly by (seed, k), and reads it."""
    rng = np.random.default_rng((seed, number))
    others = [other.read_bytes() for other in other_files]
    path = whole.with_name(f"damaged-{os.getpid()}.h5")
    path.write_bytes(damaged(whole.read_bytes(), others, rng))
    read, content, error_type = READERS[kind]
    return classify(lambda: read(path), lambda value: content(value) == expected, error_type)


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("sealed")
    runs = [materials.make_run(folder / f"run-{seed}", f"seed={seed}") / "last.h5" for seed in (0, 1)]
    sets = [materials.make_prepared(folder / f"set-{seed}.h5", seed) for seed in (0, 1)]
    for (kind, full), whole, others in (
        (("checkpoint", 10_000), runs[0], (runs[1], sets[0])),
        (("data set", 5_000), sets[0], (sets[1], runs[0])),
    ):
        read, content, _ = READERS[kind]
        trial = partial(read_damaged, kind, whole, tuple(others), content(read(whole)), session.seed)
        yield session.run(f"{kind}s damaged: flipped bits, replaced blocks, truncated, spliced", MUST, trial, full)


SEALS: Mapping[str, Seal] = {"checkpoint": CHECKPOINT_SEAL, "data set": DATA_SET_SEAL}
CHANGES: Mapping[str, Mapping[str, tuple[Change, bool]]] = {
    "checkpoint": {
        **{name: (change, False) for name, change in {**hostile.ANY, **hostile.CHECKPOINT}.items()},
        **{f"floats: {name}": (change, True) for name, change in hostile.CHECKPOINT_FLOATS.items()},
    },
    "data set": {
        **{name: (change, False) for name, change in {**hostile.ANY, **hostile.META}.items()},
        **{f"floats: {name}": (change, True) for name, change in hostile.FLOATS.items()},
    },
}
"""Changes by kind of file and name, and whether a change applies to float arrays only.

`tests/data/test_prepared_hostile.py` has the changes to the content of a data set.
"""
VICTIM = b"\x00\x00\x80\x3f" * 65_536
"""Valid floats, so that a reader of the victim gets numbers."""
PLACES: Mapping[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a full device": lambda path: path.symlink_to("/dev/full"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "an empty file": Path.touch,
}
"""Special files to create at the path instead of a regular file."""


def seal_payload(payload: bytes, seal: Seal) -> bytes:
    return seal.of(len(payload), hashlib.sha256(payload).hexdigest()) + payload


def read_resealed(kind: str, whole: Path, expected: str, seed: int, number: int) -> Outcome:
    """Trial k makes one change to a file, reseals it and reads it; the victim must stay unchanged."""
    rng = np.random.default_rng((seed, number))
    table: dict[str, tuple[Change, bool] | None] = {**CHANGES[kind], **dict.fromkeys(PLACES)}
    name = list(table)[number % len(table)]
    path = whole.with_name(f"hostile-{os.getpid()}.h5")
    victim = whole.with_name(f"victim-{os.getpid()}.bin")
    victim.write_bytes(VICTIM)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    chosen = table[name]
    if chosen is None:
        PLACES[name](path)
    else:
        change, floats = chosen
        # The seal is the HDF5 user block, so addresses in the payload are relative to its end.
        payload = hostile.apply(whole.read_bytes()[SIZE:], change, rng, str(victim), floats)
        path.write_bytes(seal_payload(payload, SEALS[kind]))
    read, content, error_type = READERS[kind]
    outcome = classify(lambda: read(path), lambda value: content(value) == expected, error_type)
    if victim.read_bytes() != VICTIM:
        return Outcome("wrong", f"{name}: the victim was written")
    return outcome._replace(note=f"{name}: {outcome.note}")


def read_resealed_noise(kind: str, whole: Path, seed: int, number: int) -> Outcome:
    """Trial k damages an HDF5 payload, half of them in the older format, reseals it and reads it.

    Any content is accepted; a crash, hang or traceback is not.
    """
    rng = np.random.default_rng((seed, number, 1))
    path = whole.with_name(f"noise-{os.getpid()}.h5")
    payload = whole.read_bytes()[SIZE:]
    path.write_bytes(seal_payload(mutated(hostile.older(payload) if number % 4 > 1 else payload, rng), SEALS[kind]))
    read, content, error_type = READERS[kind]
    return classify(lambda: read(path), lambda value: bool(content(value)), error_type)


def measure_resealed(session: Session) -> Iterator[Row]:
    folder = session.folder("resealed")
    files = {
        "checkpoint": materials.make_run(folder / "run") / "last.h5",
        "data set": materials.make_prepared(folder / "set.h5"),
    }
    for kind, whole in files.items():
        read, content, _ = READERS[kind]
        trial = partial(read_resealed, kind, whole, content(read(whole)), session.seed)
        every, must = len(CHANGES[kind]) + len(PLACES), "refused with a one-line error"
        yield session.run(f"hostile {kind}s with a matching digest", must, trial, 2_500, least=every)
        noise = partial(read_resealed_noise, kind, whole, session.seed)
        yield session.run(f"{kind}s damaged, with a matching digest", "no crash, hang or traceback", noise, 2_500)
